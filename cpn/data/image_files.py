"""Photos on disk: that they are there, and decoding them."""

import re
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from cpn.data.persons import PersonInstance, PersonInstances
from cpn.errors import UserError, describe_ids

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
# The end, or a marker whose segment begins with its length (ITU T.81, B.1.1); 00 is none, and 01,
# D0 to D7 (restart) and D8 stand alone.
JPEG_SEGMENT = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]", re.DOTALL)


def check_image_files(instances: PersonInstances, source: Path) -> None:
    """Makes sure that every person's photo exists below the image folder; lists each folder once.

    Args:
        instances: the persons.
        source: the annotation file, to be named in errors.

    Raises:
        FileNotFoundError: the image folder does not exist.
        UserError: photos are missing, or a file name leads out of the folder.
    """
    folder = instances.image_folder
    if not folder.is_dir():
        raise FileNotFoundError(f"image folder not found: {folder} (for {source})")
    by_parent: dict[PurePosixPath, list[str]] = {}
    for name in dict.fromkeys(raw.decode() for raw in instances.file_names.tolist()):
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:
            raise UserError(f"{source}: file_name '{name}' must stay below the folder {folder}")
        by_parent.setdefault(relative.parent, []).append(relative.name)
    missing = []
    for parent, names in by_parent.items():
        here = folder / parent
        present = {entry.name for entry in here.iterdir()} if here.is_dir() else set()
        missing += [str(parent / name) for name in names if name not in present]
    if missing:
        raise UserError(
            f"{source}: image files missing in {folder}: {describe_ids(missing)}; add them or"
            " remove their annotations"
        )


def read_image(path: Path, *, upright: bool = False) -> npt.NDArray[np.uint8]:
    """Decodes a photo to (H, W, 3) uint8 RGB.

    COCO data sets are read as stored, an EXIF orientation is ignored: their annotations, and the
    width and height in their file, mean the stored pixels, which are what pycocotools and Pillow
    show. A person's own photo is read upright, as every viewer shows it: a pose network has hardly
    seen people that lie on their side.

    Args:
        path: the file.
        upright: turn and mirror the photo as its EXIF orientation says.

    Raises:
        UserError: the file is missing, cut off or no readable image.
    """
    return decode_image(_read_bytes(path), path, upright=upright)


def read_person_image(instance: PersonInstance) -> npt.NDArray[np.uint8]:
    """`read_image` of an annotated person; refused if it has another size than annotated.

    Returns:
        (H, W, 4) uint8: RGB and a byte without meaning, with which `warp_crop` is faster by half;
        (H, W, 3) where the file is no JPEG.

    Raises:
        UserError: as `read_image`, or the size differs.
    """
    image = decode_stored(_read_bytes(instance.image_path), instance.image_path)
    if image.shape[:2] != instance.image_size_hw:
        height, width = instance.image_size_hw
        raise UserError(
            f"{instance.image_path}: the image is {image.shape[1]} x {image.shape[0]} (width x"
            f" height, EXIF orientation ignored), its annotations say {width} x {height}; annotate"
            " the pixels as stored"
        )
    return image


def decode_stored(content: bytes, path: Path) -> npt.NDArray[np.uint8]:
    """A photo as `read_person_image` gives it, of whatever size.

    Raises:
        UserError: the file is cut off or no readable image.
    """
    image = _decode_jpeg(content)
    return decode_image(content, path) if image is None else image


def decode_image(content: bytes, path: Path, *, upright: bool = False) -> npt.NDArray[np.uint8]:
    """`read_image` of a file's content; `path` is for messages."""
    if _is_cut_off(content):
        raise UserError(f"{path}: the JPEG file is cut off; fetch it again or leave it out")
    flags = cv2.IMREAD_COLOR_RGB | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION)
    try:
        image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), flags) if content else None
    except cv2.error as error:  # e.g. more pixels than OpenCV allows
        raise UserError(f"{path}: not a readable image: {error.err}") from error
    if image is None:
        raise UserError(f"{path}: not a readable image; fetch it again or leave it out")
    return np.asarray(image, dtype=np.uint8)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot read the image: {error.strerror}") from error


def _decode_jpeg(content: bytes) -> npt.NDArray[np.uint8] | None:
    """The same pixels as OpenCV's, without its detour over BGR; None where anything is unusual."""
    if not content.startswith(JPEG_START):
        return None
    try:
        return np.asarray(simplejpeg.decode_jpeg(content, colorspace="RGBX"))
    except ValueError:
        return None


def _is_cut_off(content: bytes) -> bool:
    """Whether a JPEG lacks its end marker; OpenCV would fill up with grey.

    Segments are skipped by their length: a thumbnail in the header has an end of its own. What
    follows the end, such as the film of a motion photo, is not looked at.
    """
    if content[:2] != JPEG_START or content[-2:] == JPEG_END:
        return False
    position = len(JPEG_START)
    while marker := JPEG_SEGMENT.search(content, position):
        if marker.group() == JPEG_END:
            return False
        end = marker.end()
        position = end + int.from_bytes(content[end : end + 2])
    return True
