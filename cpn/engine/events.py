"""A small TensorBoard writer (torch.utils.tensorboard takes three seconds to import)."""

import io
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from cpn.files.atomic import append_whole


class EventWriter:
    """Appends events to a new file in `folder`; older files of the run stay.

    What was logged is in the file when the method returns: no thread keeps it back, as
    TensorBoard's own writer does for two minutes, so who is killed loses nothing.

    Args:
        folder: TensorBoard's log folder.
        first_step: Readers drop what older files logged from this step on.

    Raises:
        OSError: Here and below, the disk does not take it; the file is as it was.
    """

    def __init__(self, folder: Path, *, first_step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / _file_name()
        start = SessionLog(status=SessionLog.START)
        self._append(
            Event(wall_time=time.time(), file_version="brain.Event:2"),
            Event(wall_time=time.time(), step=first_step, session_log=start),
        )

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log named figures."""
        self._add([Summary.Value(tag=tag, simple_value=v) for tag, v in values.items()], step)

    def image(self, tag: str, image: NDArray[np.uint8], step: int) -> None:
        """Log an RGB picture (H, W, 3)."""
        height, width, channels = image.shape
        assert image.dtype == np.uint8
        assert channels == 3
        _, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        content = Summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=png.tobytes()
        )
        self._add([Summary.Value(tag=tag, image=content)], step)

    def _add(self, values: list[Summary.Value], step: int) -> None:
        self._append(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def _append(self, *events: Event) -> None:
        records = io.BytesIO()
        for event in events:
            RecordWriter(records).write(event.SerializeToString())
        append_whole(self._path, records.getvalue())


def _file_name() -> str:
    """As TensorBoard's, which reads the files in the order of their names."""
    seconds, fraction = divmod(time.time_ns(), 10**9)
    place = f"{socket.gethostname()}.{os.getpid()}"
    return f"events.out.tfevents.{seconds:010d}.{fraction:09d}.{place}"
