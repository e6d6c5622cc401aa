"""What a photo's first bytes say of it, before a decoder gives it memory.

Four formats are let in, and their headers read here rather than by a library: a limit of OpenCV's
holds for the whole process, and the JPEG decoder knows none.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
# The end, or a marker whose segment begins with its length (ITU T.81, B.1.1); 00 is none, and 01,
# D0 to D7 (restart) and D8 stand alone.
_JPEG_SEGMENT = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])", re.DOTALL)
# SOF0 to SOF15, the frame headers, without DHT, JPG and DAC (T.81, table B.1).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SCAN, _JPEG_LAST = 0xDA, 0xD9
_OTHERS = {
    b"GIF8": "a GIF",
    b"II*\x00": "a TIFF",
    b"MM\x00*": "a TIFF",
    b"%PDF": "a PDF",
    b"<": "a web page",
    b"\x00\x00\x00\x0cjP": "a JPEG 2000 image",
    b"8BPS": "a Photoshop file",
}


class ImageHeader(NamedTuple):
    """The size of a photo in pixels, as stored."""

    height: int
    width: int


def read_header(content: bytes) -> ImageHeader | None:
    """The header of a JPEG, PNG, WebP or BMP file; None where it is none of them or broken."""
    if content.startswith(JPEG_START):
        return _jpeg(content)
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(content)
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return _webp(content)
    return _bmp(content) if content.startswith(b"BM") else None


def other_format(content: bytes) -> str:
    """What a file is that is none of the four, in words; empty where that is not known."""
    return next((name for start, name in _OTHERS.items() if content.startswith(start)), "")


def jpeg_segments(content: bytes) -> Iterator[tuple[int, int]]:
    """The markers of a JPEG file, and where the bytes behind them begin.

    Segments are skipped by their length: a thumbnail in the header has markers of its own.
    """
    position = len(JPEG_START)
    while found := _JPEG_SEGMENT.search(content, position):
        marker, start = found[1][0], found.end()
        yield marker, start
        position = start + _big(content, start, 2)


def is_cut_off(content: bytes) -> bool:
    """Whether a JPEG file lacks its end marker; OpenCV would fill up with grey.

    What follows the end, such as the film of a motion photo, is not looked at.
    """
    if not content.startswith(JPEG_START) or content.endswith(JPEG_END):
        return False
    return all(marker != _JPEG_LAST for marker, _ in jpeg_segments(content))


def _jpeg(content: bytes) -> ImageHeader | None:
    for marker, start in jpeg_segments(content):
        if marker in _JPEG_FRAMES:
            return _header(
                content, start + 7, _big(content, start + 3, 2), _big(content, start + 5, 2)
            )
        if marker in {_JPEG_SCAN, _JPEG_LAST}:
            return None
    return None


def _png(content: bytes) -> ImageHeader | None:
    if content[12:16] != b"IHDR":
        return None
    return _header(content, 24, _big(content, 20, 4), _big(content, 16, 4))


def _webp(content: bytes) -> ImageHeader | None:
    kind = content[12:16]
    if kind == b"VP8X":
        return _header(content, 30, 1 + _little(content, 27, 3), 1 + _little(content, 24, 3))
    if kind == b"VP8L":
        bits = _little(content, 21, 4)
        return _header(content, 25, 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF))
    if kind == b"VP8 ":
        return _header(
            content, 30, _little(content, 28, 2) & 0x3FFF, _little(content, 26, 2) & 0x3FFF
        )
    return None


def _bmp(content: bytes) -> ImageHeader | None:
    if _little(content, 14, 4) == 12:  # OS/2
        return _header(content, 22, _little(content, 20, 2), _little(content, 18, 2))
    width, height = (int.from_bytes(content[at : at + 4], "little", signed=True) for at in (18, 22))
    return _header(content, 26, abs(height), width)  # a negative height: upside down


def _header(content: bytes, length: int, height: int, width: int) -> ImageHeader | None:
    """The sizes, if the file is as long as what they were read from, and has any pixel."""
    return ImageHeader(height, width) if len(content) >= length and min(height, width) > 0 else None


def _big(content: bytes, start: int, length: int) -> int:
    return int.from_bytes(content[start : start + length])


def _little(content: bytes, start: int, length: int) -> int:
    return int.from_bytes(content[start : start + length], "little")
