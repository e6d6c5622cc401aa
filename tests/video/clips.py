"""Tiny videos: 64 x 48, frame k is grey of brightness 20 k, 10 frames per second."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from cpn.video.frames import Image
from cpn.video.writer import VideoWriter

RATE = Fraction(10)


def picture(number: int, size_wh: tuple[int, int] = (64, 48)) -> Image:
    """Grey, with a white left third."""
    width, height = size_wh
    image = np.full((height, width, 3), 20 * number, np.uint8)
    image[:, : width // 3] = 255
    return image


def write_clip(path: Path, frames: int = 8, size_wh: tuple[int, int] = (64, 48)) -> Path:
    writer = VideoWriter(path, frame_rate=RATE)
    for number in range(frames):
        writer.write(picture(number, size_wh), number / 10)
    writer.commit()
    return path


def packets(path: Path) -> list[tuple[int, int]]:
    """Where each frame's bytes are in the file, and how many, in the order of decoding."""
    with av.open(str(path)) as container:
        return [
            (packet.pos or 0, packet.size) for packet in container.demux(video=0) if packet.size
        ]


def damage(path: Path, packet: int) -> None:
    """Overwrites the bytes of one frame but for its length."""
    content = bytearray(path.read_bytes())
    start, size = packets(path)[packet]
    content[start + 4 : start + size] = bytes((37 * i + 11) % 256 for i in range(size - 4))
    path.write_bytes(bytes(content))


def cut_off(path: Path, packet: int) -> None:
    """Leaves what is before that frame."""
    path.write_bytes(path.read_bytes()[: packets(path)[packet][0]])


def turn(path: Path) -> None:
    """Makes players show an MP4 turned clockwise by 90 degrees, as telephones do."""
    content = bytearray(path.read_bytes())
    # tkhd, version 0: 4 bytes of name, 40 of fields, then the 3 x 3 matrix in 16.16 and 2.30.
    start = content.index(b"tkhd") + 4 + 40
    rows = (0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    content[start : start + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in rows)
    path.write_bytes(bytes(content))
