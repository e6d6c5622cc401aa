"""A small TensorBoard writer (torch.utils.tensorboard takes three seconds to import)."""

import time
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter


class EventWriter:
    """Appends events to a new file in `folder`; older files of the run stay.

    Args:
        folder: TensorBoard's log folder.
        first_step: Readers drop what older files logged from this step on.
    """

    def __init__(self, folder: Path, *, first_step: int) -> None:
        self._writer = EventFileWriter(str(folder))
        start = SessionLog(status=SessionLog.START)
        self._writer.add_event(Event(wall_time=time.time(), step=first_step, session_log=start))

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

    def close(self) -> None:
        """Write what is pending."""
        self._writer.close()

    def _add(self, values: list[Summary.Value], step: int) -> None:
        event = Event(wall_time=time.time(), step=step, summary=Summary(value=values))
        self._writer.add_event(event)
