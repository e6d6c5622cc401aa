"""Uploaded bytes: what is a photo, and how it is said that something is none."""

import numpy as np
import pytest

from cpn.demo.uploads import SHOWN_SIDE, RefusedError, decode_upload, picture_to_show
from tests.conftest import with_exif_orientation
from tests.demo.cases import file_of, photo, shown

JPEG = file_of(photo(96, 64))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_the_four_formats_are_read(suffix: str) -> None:
    image = decode_upload(file_of(photo(), suffix), max_megapixels=1)
    assert image.shape == (64, 96, 3)
    assert image.flags.c_contiguous
    assert np.abs(image.astype(int) - photo()).mean() < 3


def test_a_photo_is_turned_upright() -> None:
    """6: the stored picture has to be turned clockwise, so its left column is the top row."""
    image = decode_upload(with_exif_orientation(JPEG, 6), max_megapixels=1)
    assert image.shape == (96, 64, 3)
    top, bottom = image[:8].mean(axis=(0, 1)), image[-8:].mean(axis=(0, 1))
    assert bottom[1] - top[1] > 150  # green grew from left to right
    assert shown(picture_to_show(image)).shape == (96, 64, 3)


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"", 400, "the file is empty"),
        (b"hello", 415, "the file is no image; a photo is a JPEG, PNG, WebP or BMP file"),
        (b"GIF89a....", 415, "the file is a GIF"),
        (b"%PDF-1.7", 415, "the file is a PDF"),
        (JPEG[: len(JPEG) // 2], 422, "cut off"),
        (JPEG[:12], 422, "cut off"),
        (file_of(photo(), ".png")[:60], 422, "not a readable image"),
        (JPEG[:-90] + b"\x00\xff\xd3" * 29 + JPEG[-3:], 422, "damaged JPEG"),
        (file_of(photo(1001, 1000)), 413, "1001 x 1000 = 1.001 megapixels, at most 1 are allowed"),
    ],
)
def test_what_is_no_photo_is_refused(content: bytes, status: int, words: str) -> None:
    with pytest.raises(RefusedError, match=words) as error:
        decode_upload(content, max_megapixels=1)
    assert error.value.status == status
    assert "\n" not in str(error.value)


def test_pixels_are_counted_before_they_are_decoded() -> None:
    """A PNG header that claims 10 gigapixels, and nothing behind it."""
    claim = (
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
        + (100_000).to_bytes(4) * 2
        + b"\x08\x02"
        + b"\x00" * 3
    )
    with pytest.raises(RefusedError, match=r"1e\+04 megapixels"):
        decode_upload(claim, max_megapixels=50)


@pytest.mark.parametrize(
    ("size_wh", "expected_hw"),
    [((300, 200), (200, 300)), ((4000, 4000), (2000, 2000)), ((30_000, 3), (1, SHOWN_SIDE))],
)
def test_what_is_shown_fits_a_screen(
    size_wh: tuple[int, int], expected_hw: tuple[int, int]
) -> None:
    width, height = size_wh
    image = np.zeros((height, width, 3), np.uint8)
    assert shown(picture_to_show(image)).shape[:2] == expected_hw
