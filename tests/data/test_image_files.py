import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from cpn.data.annotations import read_person_annotations
from cpn.data.image_files import read_annotated_image, read_image
from cpn.errors import UserError
from tests.conftest import TinyCoco, with_exif_orientation


def _photo(height: int = 40, width: int = 60) -> npt.NDArray[np.uint8]:
    """RGB: red grows to the right, green downwards, blue is 200."""
    y, x = np.mgrid[:height, :width]
    return np.stack([4 * x, 6 * y, np.full_like(x, 200)], axis=-1).astype(np.uint8)


def _write(path: Path, image_rgb: npt.NDArray[np.uint8]) -> Path:
    assert cv2.imwrite(str(path), cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR))
    return path


def test_decodes_to_rgb(tmp_path: Path) -> None:
    photo = _photo()
    np.testing.assert_array_equal(read_image(_write(tmp_path / "a.png", photo)), photo)


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_alpha_become_rgb(tmp_path: Path, channels: int) -> None:
    image = np.full((8, 9, channels), 90, np.uint8).squeeze()
    assert cv2.imwrite(str(tmp_path / "a.png"), image)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.full((8, 9, 3), 90))


# What each EXIF orientation (TIFF 6.0, tag 274) asks a viewer to do with the stored pixels.
UPRIGHT: dict[int, Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_counts_for_a_user_s_photo_only(tmp_path: Path, orientation: int) -> None:
    plain = _write(tmp_path / "plain.jpg", _photo())
    turned = tmp_path / "turned.jpg"
    turned.write_bytes(with_exif_orientation(plain.read_bytes(), orientation))
    stored = read_image(plain)
    np.testing.assert_array_equal(read_image(turned), stored)
    np.testing.assert_array_equal(read_image(turned, upright=True), UPRIGHT[orientation](stored))


def test_every_truncation_of_a_jpeg_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    whole = _write(tmp_path / "whole.jpg", noise).read_bytes()
    cut = tmp_path / "cut.jpg"
    for length in np.linspace(2, len(whole) - 1, 100).astype(int):
        cut.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"cut\.jpg: the JPEG file is cut off; fetch it again"):
            read_image(cut)


def test_truncation_behind_a_thumbnail_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    whole = _write(tmp_path / "whole.jpg", noise).read_bytes()
    thumbnail = _write(tmp_path / "small.jpg", noise[:8, :8]).read_bytes()
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(with_exif_orientation(whole, 1, thumbnail)[:-500])
    with pytest.raises(UserError, match="cut off"):
        read_image(cut)


def test_bytes_behind_the_end_marker_do_no_harm(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.jpg", _photo())
    expected = read_image(path)
    path.write_bytes(path.read_bytes() + b"trailer\x00" * 20)
    np.testing.assert_array_equal(read_image(path), expected)


@pytest.mark.parametrize("progressive", [0, 1])
def test_the_film_of_a_motion_photo_does_no_harm(tmp_path: Path, progressive: int) -> None:
    path = tmp_path / "phone.jpg"
    flags = [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive, cv2.IMWRITE_JPEG_RST_INTERVAL, 2]
    assert cv2.imwrite(str(path), _photo(), flags)
    expected = read_image(path)
    whole = with_exif_orientation(path.read_bytes(), 1, b"\xff\xd8\xff\xda\x00\x02\xff\xd9")
    path.write_bytes(whole + b"ftyp mp4 \xff\xd9 \xff\xda film")
    np.testing.assert_array_equal(read_image(path), expected)
    path.write_bytes(whole[:-2] + b"\x00" * 99)
    with pytest.raises(UserError, match="cut off"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x89PNG\r\n\x1a\nrest"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.jpg").write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.jpg: not a readable image"):
        read_image(tmp_path / "bad.jpg")


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no\.jpg: cannot read the image: No such file"):
        read_image(tmp_path / "no.jpg")


def test_more_pixels_than_opencv_allows_are_refused(tmp_path: Path) -> None:
    png = bytearray(_write(tmp_path / "bomb.png", _photo()).read_bytes())
    png[16:24] = (60_000).to_bytes(4, "big") * 2
    png[29:33] = zlib.crc32(png[12:29]).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(png)
    with pytest.raises(UserError, match=r"bomb\.png: not a readable image: .*PIXELS"):
        read_image(tmp_path / "bomb.png", max_megapixels=4000)


def test_size_must_be_the_annotated_one(tiny_coco: TinyCoco) -> None:
    people = read_person_annotations(tiny_coco.annotations, tiny_coco.images)
    _write(tiny_coco.images / "001.png", _photo(64, 48))
    message = r"001\.png: the image is 48 x 64 \(.*\), its annotations say 64 x 48"
    with pytest.raises(UserError, match=message):
        read_annotated_image(people.instances[0])
    assert read_annotated_image(people.instances[1]).shape == (48, 64, 3)


def test_annotated_photos_are_read_as_stored(tiny_coco: TinyCoco) -> None:
    photo = _write(tiny_coco.images / "turned.jpg", _photo(48, 64))
    stored = read_image(photo)
    photo.write_bytes(with_exif_orientation(photo.read_bytes(), 6))
    document = tiny_coco.read()
    document["images"][0]["file_name"] = "turned.jpg"
    tiny_coco.write(document)
    people = read_person_annotations(tiny_coco.annotations, tiny_coco.images)
    np.testing.assert_array_equal(read_annotated_image(people.instances[0])[..., :3], stored)
