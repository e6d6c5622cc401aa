"""A camera, frame by frame, through OpenCV."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np

from cpn.errors import UserError
from cpn.video.frames import VideoFrame


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, OpenCV does not tell of every way of opening a camera that it tries in vain."""
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)


class Camera:
    """A camera of this machine; iterate over it for its frames, which do not end by themselves.

    Args:
        index: which one, 0 is the first.

    Raises:
        UserError: there is no such camera.
    """

    def __init__(self, index: int) -> None:
        self._name = f"source=camera:{index}"
        with _quiet():
            self._capture = cv2.VideoCapture(index)
        if not self._capture.isOpened():
            raise UserError(
                f"{self._name}: there is no such camera, or another program has it or it may not be"
                " used; close that program, or try camera:1"
            )
        # Of what was filmed while a frame was worked on only the newest is of use.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)

    def close(self) -> None:
        """Gives it back to the system."""
        self._capture.release()

    def __iter__(self) -> Iterator[VideoFrame]:
        """The frames, as they come, timed by the clock.

        Raises:
            UserError: the camera gives no first frame. If it stops later, the frames end.
        """
        index, start = 0, 0.0
        while True:
            works, image_bgr = self._capture.read()
            now = time.monotonic()
            if not works:
                break
            start = start or now
            image = np.asarray(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
            yield VideoFrame(index, now - start, image)
            index += 1
        if not index:
            raise UserError(f"{self._name}: the camera gives no picture; is it connected?")
