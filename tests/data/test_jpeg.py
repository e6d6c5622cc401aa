import cv2
import numpy as np
import pytest

from cpn.data.jpeg import decode_rgbx


def _jpeg(height: int, width: int) -> bytes:
    noise = np.random.default_rng(0).integers(256, size=(height, width, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".jpg", noise)[1])


@pytest.mark.parametrize("size_hw", [(48, 64), (5, 7), (1, 1)])
def test_the_pixels_are_opencv_s(size_hw: tuple[int, int]) -> None:
    content = _jpeg(*size_hw)
    expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(decode_rgbx(content, size_hw)[..., :3], expected)


def test_no_row_of_a_photo_is_aligned() -> None:
    # Where one is, libjpeg-turbo writes it around the caches. Kept, so that addresses differ.
    photos = [decode_rgbx(_jpeg(48, 64), (48, 64)) for _ in range(20)]
    assert all(photo.ctypes.data % 16 for photo in photos)


def test_a_photo_larger_than_told_is_not_written_past_the_memory() -> None:
    with pytest.raises(ValueError, match="too small"):
        decode_rgbx(_jpeg(48, 64), (40, 64))
