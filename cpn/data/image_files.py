"""Photos on disk: that they are there, and decoding them."""

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from cpn.coco.broken import BrokenRecords
from cpn.data.image_header import (
    JPEG_START,
    ImageHeader,
    is_cut_off,
    other_format,
    read_header,
)
from cpn.data.jpeg import decode_rgbx
from cpn.data.persons import PersonInstances
from cpn.errors import UserError, describe_ids, one_line

MAX_MEGAPIXELS = 50.0
# No file of that many pixels is longer: 32 bits each without compression, and as much to spare.
BYTES_PER_PIXEL, SPARE_BYTES = 8, 1 << 24
# What libjpeg says of picture data that make no sense. A few bytes too many before the end (D9) are
# some cameras' padding; many are what was left of the picture where its codes were misread.
JPEG_DAMAGE = re.compile(
    r"(?i)premature end|bad \w+ code|instead of RST|[1-9]\d\d+ extraneous bytes before marker 0xd\d"
)
WAY_OUT = "fetch it again or leave it out"

MISSING, UNREADABLE, CUT_OFF = "photo: missing", "photo: not readable", "photo: cut off"
OTHER_SIZE, TOO_LARGE = "photo: another size than annotated", "photo: too many pixels"


class PhotoError(UserError):
    """A photo that cannot be used.

    Attributes:
        reason: a few words, the same for all photos with that problem.
    """

    def __init__(self, message: str, reason: str = UNREADABLE) -> None:
        super().__init__(message)
        self.reason = reason


def find_photos(
    instances: PersonInstances, source: Path, broken: BrokenRecords
) -> npt.NDArray[np.bool_]:
    """Which persons' photos are there; lists every folder once.

    Args:
        instances: N persons.
        source: the annotation file, to be named in errors.
        broken: is told of photos that are missing.

    Returns:
        (N,) whether a person's photo is a name in the image folder or below it.

    Raises:
        FileNotFoundError: the image folder does not exist.
        UserError: a file name or a link leads out of the folder; or as `broken` does.
    """
    folder = instances.image_folder
    if not folder.is_dir():
        raise FileNotFoundError(f"image folder not found: {folder} (for {source})")
    outside, missing = _search([raw.decode() for raw in instances.file_names.tolist()], folder)
    if outside:
        raise UserError(
            f"{source}: image files outside {folder}, by their file_name or as a link:"
            f" {_of_whom(outside, instances)}; copy them into it"
        )
    present = ~_named(missing, instances)
    if missing:
        message = (
            f"{source}: image files missing in {folder}: {_of_whom(missing, instances)}; add them"
            " or remove their annotations"
        )
        broken.found(MISSING, message, count=int((~present).sum()))
    return present


def _named(names: list[str], instances: PersonInstances) -> npt.NDArray[np.bool_]:
    """(N,) whether a person's photo has one of the names."""
    return np.isin(instances.file_names, np.array([name.encode() for name in names], np.bytes_))


def _of_whom(names: list[str], instances: PersonInstances) -> str:
    annotation_id = int(instances.annotation_ids[_named(names[:1], instances)][0])
    return f"{describe_ids(names)}, the first one of annotation {annotation_id}"


def _search(names: Iterable[str], folder: Path) -> tuple[list[str], list[str]]:
    """The names that lead out of the folder, and those of nothing in it."""
    root = folder.resolve()
    outside, missing = [], []
    by_parent: dict[PurePosixPath, list[str]] = {}
    for name in dict.fromkeys(names):
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:
            outside.append(name)
        else:
            by_parent.setdefault(relative.parent, []).append(name)
    for parent, inside in by_parent.items():
        if not (root / parent).resolve().is_relative_to(root):
            outside += inside
            continue
        present = _list(root / parent)
        missing += [name for name in inside if PurePosixPath(name).name not in present]
        links = [name for name in inside if present.get(PurePosixPath(name).name)]
        outside += [name for name in links if not (root / name).resolve().is_relative_to(root)]
    return outside, missing


def _list(folder: Path) -> dict[str, bool]:
    """The names in a folder, and whether each is a link; none if there is no such folder.

    Only links are followed later: that a name is one comes with it, following it does not.
    """
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.is_symlink() for entry in entries}
    except OSError:
        return {}


def check_sizes(
    instances: PersonInstances, source: Path, max_megapixels: float, broken: BrokenRecords
) -> npt.NDArray[np.bool_]:
    """Which persons' photos have at most so many pixels, as annotated.

    `read_annotated_image` makes sure, before it decodes a photo, that this is its size.

    Args:
        instances: N persons.
        source: the annotation file, to be named in errors.
        max_megapixels: highest number, in millions.
        broken: is told of photos that have more.

    Returns:
        (N,) bool.

    Raises:
        UserError: as `broken` does.
    """
    pixels = instances.image_sizes_hw.prod(axis=1)
    right = np.asarray(pixels <= max_megapixels * 1e6)
    if not right.all():
        person = instances[int(np.flatnonzero(~right)[0])]
        height, width = person.image_size_hw
        message = (
            f"{source}: image {person.image_id} ({one_line(person.image_path.name)}) is {width} x"
            f" {height} by its 'width' and 'height'; {_too_many(height * width, max_megapixels)}"
        )
        broken.found(TOO_LARGE, message, count=int((~right).sum()))
    return right


def read_image(
    path: Path, *, upright: bool = False, max_megapixels: float = MAX_MEGAPIXELS
) -> npt.NDArray[np.uint8]:
    """Decodes a JPEG, PNG, WebP or BMP photo to (H, W, 3) uint8 RGB.

    COCO data sets are read as stored, an EXIF orientation is ignored: their annotations, and the
    width and height in their file, mean the stored pixels, which are what pycocotools and Pillow
    show. A person's own photo is read upright, as every viewer shows it: a pose network has hardly
    seen people that lie on their side.

    Args:
        path: the file.
        upright: turn and mirror the photo as its EXIF orientation says.
        max_megapixels: a photo with more pixels is refused before it is decoded.

    Raises:
        PhotoError: the file is missing, cut off, too large or no readable image.
    """
    content = read_photo_bytes(path, int(max_megapixels * 1e6))
    header = photo_header(content, path)
    refuse_too_large(header, path, max_megapixels)
    return decode_image(content, path, header, upright=upright)


class AnnotatedImage(Protocol):
    """What an annotation file says of a photo: of one with people, or of one of these."""

    @property
    def image_id(self) -> int: ...  # noqa: D102
    @property
    def image_path(self) -> Path: ...  # noqa: D102
    @property
    def image_size_hw(self) -> tuple[int, int]: ...  # noqa: D102


def read_annotated_image(annotated: AnnotatedImage) -> npt.NDArray[np.uint8]:
    """`read_image` of an annotated photo; refused, undecoded, if of another size than annotated.

    Returns:
        (H, W, 4) uint8: RGB and a byte without meaning, with which `warp_crop` is faster by half;
        (H, W, 3) where the file is no JPEG.

    Raises:
        PhotoError: as `read_image`, or the size differs.
    """
    path, (height, width) = annotated.image_path, annotated.image_size_hw
    content = read_photo_bytes(path, height * width)
    header = photo_header(content, path)
    if header != (height, width):
        raise PhotoError(
            f"{one_line(path)}: the image is {_wxh(header)} (width x height, EXIF orientation"
            f" ignored), its annotations say {width} x {height} (image {annotated.image_id});"
            " annotate the pixels as stored",
            OTHER_SIZE,
        )
    return decode_stored(content, path, header)


def decode_stored(content: bytes, path: Path, header: ImageHeader) -> npt.NDArray[np.uint8]:
    """A photo as `read_annotated_image` gives it.

    Args:
        content: of the file.
        path: to be named in errors.
        header: what `photo_header` says of the content.

    Raises:
        PhotoError: the file is cut off or no readable image.
    """
    image = _decode_jpeg(content, path, header)
    return decode_image(content, path, header) if image is None else image


def refuse_too_large(header: ImageHeader, path: Path, max_megapixels: float) -> None:
    """Makes sure that a photo has at most so many pixels, to be asked before it is decoded.

    Raises:
        PhotoError: it has more.
    """
    pixels = header.height * header.width
    if pixels > max_megapixels * 1e6:
        what = f"{one_line(path)}: the photo is {_wxh(header)}"
        raise PhotoError(f"{what}; {_too_many(pixels, max_megapixels)}", TOO_LARGE)


def _too_many(pixels: int, max_megapixels: float) -> str:
    return (
        f"{pixels / 1e6:.4g} megapixels are more than max_megapixels={max_megapixels:g}"
        " (data.max_megapixels in train.py): make the photo smaller or raise that"
    )


def _wxh(header: ImageHeader) -> str:
    return f"{header.width} x {header.height}"


def read_photo_bytes(path: Path, pixels: int) -> bytes:
    """A file's content.

    Args:
        path: the file.
        pixels: what is too long for so many is refused.

    Raises:
        PhotoError: it is missing, no file, too long or cannot be read.
    """
    try:
        # Without waiting, as for the other end of a pipe.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode) and status.st_size <= _most_bytes(pixels):
                return file.readall()
    except OSError as error:
        reason = MISSING if isinstance(error, FileNotFoundError) else UNREADABLE
        message = f"{one_line(path)}: cannot read the image: {error.strerror}; {WAY_OUT}"
        raise PhotoError(message, reason) from error
    problem = f"{status.st_size} bytes are too many for a photo of {pixels / 1e6:.4g} megapixels"
    if not stat.S_ISREG(status.st_mode):
        problem = "it is no file"
    raise PhotoError(f"{one_line(path)}: cannot read the image: {problem}; {WAY_OUT}")


def _most_bytes(pixels: int) -> int:
    return BYTES_PER_PIXEL * pixels + SPARE_BYTES


def photo_header(content: bytes, path: Path) -> ImageHeader:
    """Height and width of a photo as stored.

    Raises:
        PhotoError: it is none that can be read.
    """
    header = read_header(content)
    if header is not None:
        return header
    if is_cut_off(content):
        raise _cut_off(path)
    kind = other_format(content)
    what = f"it is {kind}, allowed are" if kind else "it is no"
    raise PhotoError(
        f"{one_line(path)}: not a readable image: {what} JPEG, PNG, WebP or BMP; {WAY_OUT}"
    )


def _cut_off(path: Path) -> PhotoError:
    return PhotoError(f"{one_line(path)}: the JPEG file is cut off; {WAY_OUT}", CUT_OFF)


def _decode_jpeg(content: bytes, path: Path, header: ImageHeader) -> npt.NDArray[np.uint8] | None:
    """The same pixels as OpenCV's, without its detour over BGR; None where anything is unusual."""
    if not content.startswith(JPEG_START):
        return None
    try:
        return decode_rgbx(content, header)
    except ValueError as error:
        if is_cut_off(content):
            raise _cut_off(path) from error
        if JPEG_DAMAGE.search(str(error)):
            raise PhotoError(f"{one_line(path)}: damaged JPEG ({error}); {WAY_OUT}") from error
        return None


def decode_image(
    content: bytes, path: Path, header: ImageHeader, *, upright: bool = False
) -> npt.NDArray[np.uint8]:
    """`read_image` of a file's content; the arguments are those of `decode_stored`."""
    if is_cut_off(content):
        raise _cut_off(path)
    flags = cv2.IMREAD_COLOR_RGB | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION)
    try:
        image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), flags)
    except cv2.error as error:  # e.g. more pixels than OpenCV allows
        message = f"{one_line(path)}: not a readable image: {error.err}; {WAY_OUT}"
        raise PhotoError(message) from error
    if image is None or sorted(image.shape[:2]) != sorted(header):
        raise PhotoError(f"{one_line(path)}: not a readable image; {WAY_OUT}")
    return np.asarray(image, dtype=np.uint8)
