import struct

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cpn.data.image_header import is_cut_off, other_format, read_header


def encoded(suffix: str, *flags: int, height: int = 37, width: int = 53) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    done, content = cv2.imencode(suffix, noise, list(flags))
    assert done
    return content.tobytes()


FILES = {
    "jpeg": encoded(".jpg"),
    "progressive jpeg": encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "png": encoded(".png"),
    "bmp": encoded(".bmp"),
    "lossy webp": encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 50),
    "lossless webp": encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 101),
}


@pytest.mark.parametrize("name", FILES)
def test_the_size_is_what_the_decoder_finds(name: str) -> None:
    assert read_header(FILES[name]) == (37, 53)


def test_an_extended_webp_has_its_canvas_in_front() -> None:
    size = (53 - 1).to_bytes(3, "little") + (37 - 1).to_bytes(3, "little")
    chunk = b"VP8X" + struct.pack("<I", 10) + bytes(4) + size
    assert read_header(b"RIFF" + struct.pack("<I", 22) + b"WEBP" + chunk) == (37, 53)


def test_bitmaps_upside_down_and_of_os2() -> None:
    turned = bytearray(FILES["bmp"])
    turned[22:26] = struct.pack("<i", -37)
    assert read_header(bytes(turned)) == (37, 53)
    old = b"BM" + bytes(12) + struct.pack("<IHH", 12, 53, 37) + bytes(8)
    assert read_header(old) == (37, 53)


def test_a_thumbnail_is_not_taken_for_the_photo() -> None:
    thumbnail = encoded(".jpg", height=8, width=8)
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(thumbnail)) + thumbnail
    whole = FILES["jpeg"][:2] + segment + FILES["jpeg"][2:]
    assert read_header(whole) == (37, 53)
    assert not is_cut_off(whole + b"film")
    assert is_cut_off(whole[:-2])


@pytest.mark.parametrize("name", FILES)
def test_half_a_header_is_none(name: str) -> None:
    content = FILES[name]
    sizes = [read_header(content[:length]) for length in range(0, 700, 3)]
    assert sizes[0] is None
    assert set(sizes) == {None, (37, 53)}


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"GIF89a", "a GIF"),
        (b"II*\x00", "a TIFF"),
        (b"MM\x00*", "a TIFF"),
        (b"<!doctype html>", "a web page"),
        (b"%PDF-1.7", "a PDF"),
        (b"hello", ""),
        (b"", ""),
    ],
)
def test_other_files_are_named(start: bytes, kind: str) -> None:
    content = start + bytes(60)
    assert read_header(content) is None
    assert other_format(content) == kind


def test_no_pixels_are_no_size() -> None:
    empty = bytearray(FILES["png"])
    empty[16:20] = bytes(4)
    assert read_header(bytes(empty)) is None


@given(
    st.sampled_from([b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF1234WEBPVP8 ", b"BM"]),
    st.binary(max_size=60),
)
@example(b"\xff\xd8", b"\xff\xc0\x00\x00" * 8)
@example(b"\xff\xd8", b"\xff\xe0\x00\x00\xff\xe0\xff\xff")
@settings(max_examples=200, derandomize=True)
def test_any_bytes_have_a_size_or_none(start: bytes, rest: bytes) -> None:
    header = read_header(start + rest)
    assert header is None or min(header) > 0
    assert isinstance(is_cut_off(start + rest), bool)
