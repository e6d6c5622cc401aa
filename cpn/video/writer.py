"""Pictures to a video file that browsers and players show: H.264 in MP4 (PyAV)."""

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from cpn.errors import UserError
from cpn.files.atomic import GrowingFile
from cpn.video.frames import Image

try:
    import av
except ImportError as error:
    raise UserError(
        f"videos need the extra video: pip install 'cpn-pose[video]' ({error})"
    ) from error
from av.video.stream import VideoStream

CODEC = "libx264"
# Visually near the source; twice as fast as the default preset.
QUALITY = {"crf": "20", "preset": "veryfast"}
CLOCK = 90_000  # ticks per second: whole numbers for all usual frame rates


class VideoWriter:
    """Writes a video under a temporary name; `commit` gives it its own.

    Args:
        path: the MP4 file.
        frame_rate: pictures per second, about; each one's own time decides when it is shown.

    Attributes:
        path: the same.

    Raises:
        UserError: this PyAV was built without x264.
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path, *, frame_rate: Fraction) -> None:
        if CODEC not in av.codecs_available:
            raise UserError(
                f"{path}: this build of PyAV has no {CODEC}, which writes H.264; use PyAV's own"
                " wheels (pip install --force-reinstall av), or draw=false to write no video"
            )
        self.path = path
        self._file = GrowingFile(path)
        self._container = av.open(
            str(self._file.temporary), "w", format="mp4", options={"movflags": "+faststart"}
        )
        # Rates of 29.97 and the like come as any fraction; the encoder only plans with it.
        rate = frame_rate.limit_denominator(1001)
        stream = self._container.add_stream(CODEC, rate=rate, options=QUALITY)
        assert isinstance(stream, VideoStream)
        self._stream = stream
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, CLOCK)
        self._size_wh: tuple[int, int] | None = None
        self._last_tick = -1

    def write(self, image_rgb: Image, time: float) -> None:
        """Adds a picture.

        Args:
            image_rgb: (H, W, 3); one of another size than the first is scaled to it.
            time: seconds after the start, later than the picture before.

        Raises:
            OSError: the disk is full.
        """
        if self._size_wh is None:
            height, width = image_rgb.shape[:2]
            self._size_wh = (width, height)
            self._stream.width, self._stream.height = width + width % 2, height + height % 2
        elif image_rgb.shape[1::-1] != self._size_wh:
            resized = cv2.resize(image_rgb, self._size_wh, interpolation=cv2.INTER_AREA)
            image_rgb = np.asarray(resized, dtype=np.uint8)
        frame = av.VideoFrame.from_ndarray(_even(image_rgb), format="rgb24")
        self._last_tick = max(self._last_tick + 1, round(time * CLOCK))
        frame.pts, frame.time_base = self._last_tick, Fraction(1, CLOCK)
        self._container.mux(self._stream.encode(frame))

    def commit(self) -> None:
        """Finishes the video and gives it its name; without a picture none is left there.

        Raises:
            OSError: the disk is full.
        """
        if self._size_wh is None:
            self.discard()
            self.path.unlink(missing_ok=True)
            return
        self._container.mux(self._stream.encode(None))
        self._container.close()
        self._file.commit()

    def discard(self) -> None:
        """Leaves no video; after `commit` this does nothing."""
        with suppress(av.error.FFmpegError):  # what could not be written is not wanted any more
            self._container.close()
        self._file.discard()


def _even(image_rgb: Image) -> Image:
    """Repeats the last column or row: H.264 halves the colours' resolution."""
    height, width = image_rgb.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return np.ascontiguousarray(image_rgb)
    return np.pad(image_rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
