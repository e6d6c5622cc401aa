"""Video files, frame by frame, through FFmpeg's libraries (PyAV).

OpenCV's VideoCapture passes over what it cannot decode, so that later frames get wrong numbers, and
its wheels write no H.264; therefore PyAV.
"""

import heapq
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from cpn.errors import UserError, one_line
from cpn.video.frames import Image, VideoFrame

try:
    import av
except ImportError as error:
    raise UserError(
        f"videos need the extra video: pip install 'cpn-pose[video]' ({error})"
    ) from error
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

# No playlist, which could name addresses and other files, whatever the file calls itself.
FORMATS = ("mov", "matroska", "avi", "mpegts", "mpeg", "mpegvideo", "flv", "asf", "ogg", "gif")
LIMITS = {"protocol_whitelist": "file", "format_whitelist": ",".join(FORMATS)}
WAY_OUT = "fetch it again or convert it to an MP4 file with H.264"
LOST = "cannot be decoded"


class VideoReader:
    """A video file; iterate over it, once, for its frames.

    Frames are turned as the file's rotation says. One that is damaged keeps its number and its
    time, and has no image.

    Args:
        path: the file.
        max_megapixels: a video with larger frames is refused before any is decoded.

    Attributes:
        frame_rate: frames per second on average.
        num_frames: as the file declares, or about, by its length; None where it does neither.
        cut_off: once all frames were read, whether the file declares more than it has: more frames
            and a greater length. Either alone proves nothing: rates vary, and what was trimmed
            without being encoded anew still counts frames that are not to be shown.

    Raises:
        UserError: there is no such file, it is no video that can be read, or its frames are too
            large.
    """

    def __init__(self, path: Path, *, max_megapixels: float) -> None:
        self._path = path
        self._max_pixels = max_megapixels * 1e6
        try:
            self._container: InputContainer = av.open(path, options=dict(LIMITS))
        except av.error.FFmpegError as error:
            raise self._refused(error.strerror or str(error)) from error
        try:
            self._stream = self._only_stream()
            self._check_size(self._stream.codec_context.height, self._stream.codec_context.width)
        except UserError:
            self._container.close()
            raise
        # Threads that work on several frames tell of damage with a later frame.
        self._stream.thread_type = "SLICE"
        self.frame_rate = (
            _fraction(self._stream.average_rate)
            or _fraction(self._stream.guessed_rate)
            or Fraction(25)
        )
        self.num_frames = self._declared_frames()
        self.cut_off = False

    def close(self) -> None:
        """Gives it back to the system."""
        self._container.close()

    def __iter__(self) -> Iterator[VideoFrame]:
        """The frames in the order of showing.

        Raises:
            UserError: not one frame can be decoded.
        """
        count = decoded = 0
        first: float | None = None
        last, longest = 0.0, float(1 / self.frame_rate)
        for pts, frame in self._in_order():
            seconds = None if pts is None else float(pts * self._time_base)
            if seconds is None:
                seconds = (first or 0.0) + float(count / self.frame_rate)
            first = seconds if first is None else first
            image, problem = (None, LOST) if frame is None else self._upright(frame)
            decoded += image is not None
            yield VideoFrame(count, seconds - first, image, problem)
            count += 1
            longest, last = max(longest, seconds - first - last), seconds - first
        if not decoded:
            what = f"not one of its {count} frames" if count else "no frame in it"
            raise self._refused(f"{what} can be decoded")
        # A length may count from 0 or from the first frame; the last one lasts as long as any.
        self.cut_off = self._lacks(count, last + max(first or 0.0, 0.0) + longest)

    def _in_order(self) -> Iterator[tuple[int | None, av.VideoFrame | None]]:
        """Time stamps and frames; those that are lost come as None where they would be shown.

        Packets are in the order of decoding, so one that is lost may belong before or after the
        frames that the decoder gives next: it waits until a later one is shown.
        """
        lost: list[int] = []
        for item in self._decoded():
            pts = item.pts
            if isinstance(item, Packet) or item.is_corrupt:
                if pts is None:
                    yield None, None
                else:
                    heapq.heappush(lost, pts)
                continue
            is_lost = False
            while lost and pts is not None and lost[0] <= pts:
                lost_pts = heapq.heappop(lost)
                if is_lost := lost_pts == pts:  # the decoder told of damage and covered it up
                    break
                yield lost_pts, None
            yield pts, None if is_lost else item
        yield from ((pts, None) for pts in sorted(lost))

    def _decoded(self) -> "Iterator[av.VideoFrame | Packet[VideoStream]]":
        """Frames, and the packets of which the decoder can make none."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:  # nothing more can be found in the file
                return
            if packet is None:
                return
            try:
                yield from packet.decode()
            except av.error.FFmpegError:
                if packet.size:
                    yield packet

    def _upright(self, frame: av.VideoFrame) -> tuple[Image | None, str | None]:
        """The picture; or, as a video may change its size on the way, why there is none."""
        if problem := self._too_large(frame.height, frame.width):
            return None, problem
        image = frame.to_ndarray(format="rgb24")
        turns = round(frame.rotation / 90) % 4  # counterclockwise, as rot90
        return np.ascontiguousarray(np.rot90(image, turns), dtype=np.uint8), None

    @property
    def _time_base(self) -> Fraction:
        return _fraction(self._stream.time_base) or 1 / self.frame_rate

    def _only_stream(self) -> VideoStream:
        streams = self._container.streams.video
        if not streams:
            raise self._refused("there is no picture in it")
        if streams[0].codec_context is None:
            raise self._refused("its codec is not known")
        return streams[0]

    def _declared_frames(self) -> int | None:
        if self._stream.frames:
            return self._stream.frames
        seconds = self._declared_seconds()
        return None if seconds is None else math.floor(seconds * self.frame_rate + Fraction(1, 2))

    def _declared_seconds(self) -> Fraction | None:
        if self._stream.duration is not None:
            return self._stream.duration * self._time_base
        # The length of the whole; with sound it may be that of the sound.
        if self._container.duration is None or len(self._container.streams) > 1:
            return None
        return Fraction(self._container.duration, av.time_base)

    def _lacks(self, frames: int, seconds: float) -> bool:
        """Whether more frames and half a frame's time more are declared."""
        declared = self._declared_seconds()
        if declared is None or frames >= (self.num_frames or 0):
            return False
        return float(declared) - seconds > float(1 / self.frame_rate) / 2

    def _check_size(self, height: int, width: int) -> None:
        if problem := self._too_large(height, width):
            raise UserError(
                f"{one_line(self._path)}: its frames: {problem}: make them smaller or raise that"
            )

    def _too_large(self, height: int, width: int) -> str | None:
        if height * width <= self._max_pixels:
            return None
        return f"{width} x {height} is more than max_megapixels={self._max_pixels / 1e6:g}"

    def _refused(self, problem: str) -> UserError:
        return UserError(f"{one_line(self._path)}: not a readable video: {problem}; {WAY_OUT}")


def _fraction(rational: Any) -> Fraction | None:  # noqa: ANN401 - PyAV's own kind from 19 on
    """A number of PyAV's as Python's; None where it has none."""
    if rational is None or not rational.denominator:
        return None
    return Fraction(rational.numerator, rational.denominator)
