"""Formats that are let in look as Pillow shows them; bombs and broken files cost nothing."""

import io
import os
import struct
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import psutil
import pytest
from PIL import Image

from cpn.data.image_files import (
    CUT_OFF,
    OTHER_SIZE,
    TOO_LARGE,
    UNREADABLE,
    PhotoError,
    read_annotated_image,
    read_image,
)
from cpn.data.persons import PersonInstance

HEIGHT, WIDTH = 48, 64
Array = npt.NDArray[np.uint8]


def person(path: Path, height: int = HEIGHT, width: int = WIDTH) -> PersonInstance:
    box, keypoints = np.array([1.0, 1, 9, 9]), np.zeros((17, 3))
    return PersonInstance(7, 3, path, (height, width), box, keypoints, 81.0)


def gradient() -> Array:
    """RGB without fine detail, which JPEG keeps."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([4 * x, 5 * y, np.full_like(x, 200)], axis=-1).astype(np.uint8)


def saved(mode: str, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(gradient())
    if mode.endswith("A"):
        image.putalpha(100)
    image.convert(mode).save(file, kind, **options)
    return file.getvalue()


def sixteen_bits() -> bytes:
    """Pillow's own way to 8 bits cuts off at 255; the values here are 257 times the 8-bit ones."""
    return cv2.imencode(".png", gradient()[..., ::-1].astype(np.uint16) * 257)[1].tobytes()


FORMATS = {
    "jpeg": saved("RGB", "JPEG", quality=95),
    "progressive jpeg": saved("RGB", "JPEG", quality=95, progressive=True),
    "grey jpeg": saved("L", "JPEG", quality=95),
    "cmyk jpeg": saved("CMYK", "JPEG", quality=95),
    "png": saved("RGB", "PNG"),
    "grey png": saved("L", "PNG"),
    "grey and alpha": saved("LA", "PNG"),
    "alpha": saved("RGBA", "PNG"),
    "palette": saved("P", "PNG"),
    "1-bit": saved("1", "PNG"),
    "webp": saved("RGB", "WebP", quality=95),
    "lossless webp": saved("RGBA", "WebP", lossless=True),
    "bmp": saved("RGB", "BMP"),
    "palette bmp": saved("P", "BMP"),
}


@pytest.mark.parametrize("name", [*FORMATS, "16-bit"])
def test_allowed_formats_are_rgb_as_the_reference_has_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / "photo"
    content = FORMATS.get(name) or sixteen_bits()
    path.write_bytes(content)
    wanted = gradient() if name == "16-bit" else np.asarray(Image.open(path).convert("RGB"))
    for found in (read_image(path), read_annotated_image(person(path))[..., :3]):
        assert found.shape == (HEIGHT, WIDTH, 3)
        assert found.dtype == np.uint8
        means = found.mean(axis=(0, 1)) - wanted.mean(axis=(0, 1))
        assert np.abs(means).max() <= 2


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (saved("P", "GIF"), "it is a GIF, allowed are JPEG, PNG, WebP or BMP; fetch it"),
        (saved("RGB", "TIFF"), "it is a TIFF, allowed are JPEG, PNG, WebP or BMP"),
        (saved("RGB", "PPM"), "it is no JPEG, PNG, WebP or BMP"),
        (b"<!DOCTYPE html><title>404</title>", "it is a web page, allowed are"),
        (b"", "it is no JPEG, PNG, WebP or BMP; fetch it again or leave it out"),
        (FORMATS["png"][:100], ""),
        (FORMATS["webp"][:100], ""),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    for read in (read_image, lambda path: read_annotated_image(person(path))):
        with pytest.raises(
            PhotoError, match=rf"photo\.jpg: not a readable image.*{what}"
        ) as caught:
            read(path)
        assert caught.value.reason == UNREADABLE


def noise_jpeg(seed: int, **options: object) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("end", [b"", b"\xff\xd9", b"\x00" * 64])
def test_all_of_200_truncated_files_are_refused(tmp_path: Path, end: bytes) -> None:
    """Also where somebody closed the file properly after the loss.

    Progressive files are then right ones of lower quality, if the loss begins between two scans.
    """
    path = tmp_path / "photo.jpg"
    rng = np.random.default_rng(0)
    for seed in range(200):
        progressive = seed % 4 == 3 and not end.startswith(b"\xff")
        whole = noise_jpeg(seed, progressive=progressive, restart_marker_rows=seed % 3)
        path.write_bytes(whole[: int(rng.integers(2, len(whole) - 40))] + end)
        with pytest.raises(PhotoError, match=r"photo\.jpg: .*; fetch it again or leave it out"):
            read_annotated_image(person(path))


def test_a_cut_off_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(noise_jpeg(0)[:-200])
    for read in (read_image, lambda path: read_annotated_image(person(path))):
        with pytest.raises(PhotoError, match=r"photo\.jpg: the JPEG file is cut off") as caught:
            read(path)
        assert caught.value.reason == CUT_OFF


def test_misread_picture_data_are_refused(tmp_path: Path) -> None:
    path, whole = tmp_path / "photo.jpg", bytearray(noise_jpeg(0))
    middle = len(whole) // 2
    whole[middle : middle + 4] = bytes(byte ^ 0x55 for byte in whole[middle : middle + 4])
    path.write_bytes(whole)
    with pytest.raises(PhotoError, match=r"photo\.jpg: damaged JPEG \(.*\); fetch it again"):
        read_annotated_image(person(path))


def test_padding_before_the_end_is_no_damage(tmp_path: Path) -> None:
    path, whole = tmp_path / "photo.jpg", noise_jpeg(0)
    path.write_bytes(whole)
    wanted = read_image(path)
    path.write_bytes(whole[:-2] + bytes(16) + whole[-2:])
    np.testing.assert_array_equal(read_annotated_image(person(path))[..., :3], wanted)


def bomb_png(side: int) -> bytes:
    """A black square: 1 byte for about 1000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    packer = zlib.compressobj(9)
    row = bytes(1 + side)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def bomb_jpeg(side: int) -> bytes:
    content = bytearray(noise_jpeg(0))
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", side, side)
    return bytes(content)


@pytest.mark.parametrize("megapixels", [100, 192, 1089])
@pytest.mark.parametrize("make", [bomb_png, bomb_jpeg])
def test_bombs_are_refused_before_they_are_decoded(
    tmp_path: Path, megapixels: int, make: object
) -> None:
    assert callable(make)
    side = round((megapixels * 1e6) ** 0.5)
    path = tmp_path / "bomb"
    path.write_bytes(make(side))
    process = psutil.Process()
    memory, began = process.memory_info().rss, time.perf_counter()
    with pytest.raises(PhotoError, match=rf"bomb: the photo is {side} x {side}; .* mega") as caught:
        read_image(path)
    assert caught.value.reason == TOO_LARGE
    with pytest.raises(PhotoError, match=rf"bomb: the image is {side} x {side} .*\(image 7\)") as o:
        read_annotated_image(person(path))
    assert o.value.reason == OTHER_SIZE
    assert time.perf_counter() - began < 0.05
    assert process.memory_info().rss - memory < 50 << 20


def test_the_limit_can_be_raised(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(FORMATS["png"])
    assert read_image(path, max_megapixels=HEIGHT * WIDTH / 1e6).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(
        PhotoError, match=r"0\.003072 megapixels are more than max_megapixels=0\.003"
    ):
        read_image(path, max_megapixels=0.003)


def test_a_file_of_many_bytes_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(FORMATS["jpeg"])
    os.truncate(path, 1 << 34)  # it has a hole: nothing is written
    with pytest.raises(
        PhotoError, match=r"photo\.jpg: .* 17179869184 bytes are too many for a photo"
    ):
        read_annotated_image(person(path))


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_does_not_hang(tmp_path: Path, make: object) -> None:
    assert callable(make)
    path = tmp_path / "photo.jpg"
    make(path)
    with pytest.raises(
        PhotoError, match=r"photo\.jpg: cannot read the image: (it is no file|Is a dir)"
    ):
        read_image(path)
