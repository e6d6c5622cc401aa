"""Uploaded bytes -> an upright photo, or one line that says why not and the HTTP status for it."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from cpn.data.image_files import PhotoError, decode_image, decode_stored
from cpn.data.image_header import (
    JPEG_START,
    ImageHeader,
    is_cut_off,
    other_format,
    read_header,
)
from cpn.errors import UserError

Image = npt.NDArray[np.uint8]

BAD_REQUEST, NOT_FOUND, TOO_LARGE, NOT_AN_IMAGE, DAMAGED = 400, 404, 413, 415, 422
# Where an EXIF orientation may stand: JPEG's APP1, WebP's and PNG's chunk.
_EXIF = (b"Exif", b"EXIF", b"eXIf")
# What a screen shows of a photo; one side also by what browsers can draw.
SHOWN_PIXELS, SHOWN_SIDE = 4e6, 8192


class RefusedError(UserError):
    """A request that cannot be answered.

    Attributes:
        status: of HTTP, 4xx.
    """

    def __init__(self, message: str, status: int = BAD_REQUEST) -> None:
        super().__init__(message)
        self.status = status


def decode_upload(content: bytes, *, max_megapixels: float) -> Image:
    """A JPEG, PNG, WebP or BMP file as (H, W, 3) uint8 RGB, upright by its EXIF orientation.

    Raises:
        RefusedError: it is empty, no image, damaged or has too many pixels; these are read from the
            header, before the decoder gets memory for them.
    """
    header = _header(content)
    pixels = header.height * header.width
    if pixels > max_megapixels * 1e6:
        raise RefusedError(
            f"the photo has {header.width} x {header.height} = {pixels / 1e6:.4g} megapixels,"
            f" at most {max_megapixels:g} are allowed: make it smaller, or start the demo with a"
            " higher max_megapixels",
            TOO_LARGE,
        )
    path = Path("the photo")
    try:
        # Finds damage, where OpenCV would fill up with grey.
        stored = decode_stored(content, path, header)
        if any(tag in content for tag in _EXIF):
            return decode_image(content, path, header, upright=True)
    except PhotoError as error:
        raise RefusedError(str(error).partition(";")[0], DAMAGED) from error
    return np.ascontiguousarray(stored[..., :3])


def _header(content: bytes) -> ImageHeader:
    if not content:
        raise RefusedError("the file is empty")
    header = read_header(content)
    if header is not None:
        return header
    if content.startswith(JPEG_START) and is_cut_off(content):
        raise RefusedError("the photo is a JPEG file that is cut off", DAMAGED)
    kind = other_format(content)
    what = f"the file is {kind}" if kind else "the file is no image"
    raise RefusedError(f"{what}; a photo is a JPEG, PNG, WebP or BMP file", NOT_AN_IMAGE)


def picture_to_show(image: Image) -> bytes:
    """The photo as a JPEG file of at most `SHOWN_PIXELS`, upright whatever the reader does."""
    height, width = image.shape[:2]
    zoom = min(1.0, (SHOWN_PIXELS / (height * width)) ** 0.5, SHOWN_SIDE / max(height, width))
    if zoom < 1:
        size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return encoded(image, ".jpg")


def encoded(image: Image, suffix: str) -> bytes:
    """(H, W, 3) RGB as the content of a ".jpg" or ".png" file."""
    ok, content = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert ok, "uint8 RGB always encodes"
    return content.tobytes()
