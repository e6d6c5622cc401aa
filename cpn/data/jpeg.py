"""Decoding a JPEG photo to memory that is quick to crop from."""

import numpy as np
import numpy.typing as npt
import simplejpeg

ALIGNMENT, OFF_ALIGNMENT = 16, 4  # bytes


def decode_rgbx(content: bytes, size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """The photo as (H, W, 4) uint8: RGB and a byte without meaning.

    Raises:
        ValueError: it has more than `size_hw` pixels, or libjpeg has something to say about it.
    """
    memory = _unaligned(*size_hw)
    return np.asarray(simplejpeg.decode_jpeg(content, colorspace="RGBX", buffer=memory))


def _unaligned(height: int, width: int) -> npt.NDArray[np.uint8]:
    """(height, width, 4) uint8 with any content, at an address that is no multiple of 16.

    libjpeg-turbo writes around the caches where a row is aligned (`movntdq` in its colour
    conversion). That suits whoever stores a photo away; here the warp reads it at once, and
    fetching it back took a fifth of the loader's time, in every other process: as it happened to
    come by its memory.
    """
    size = height * width * 4
    memory = np.empty(size + ALIGNMENT + OFF_ALIGNMENT, dtype=np.uint8)
    start = -memory.ctypes.data % ALIGNMENT + OFF_ALIGNMENT
    return memory[start : start + size].reshape(height, width, 4)
