"""Sizes of photos, for annotations that do not have them."""

from pathlib import Path

from PIL import Image
from PIL.ExifTags import Base

from cpn.data.image_files import photo_header
from cpn.errors import UserError

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
# Where the size stands in a JPEG depends on how much a camera writes before it.
_FIRST_BYTES = 1 << 18


def photo_size(path: Path) -> tuple[int, int]:
    """Height and width as stored, from the first bytes of a photo.

    Raises:
        UserError: there is no such photo, or it is none.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_FIRST_BYTES)
            try:
                header = photo_header(content, path)
            except UserError:
                header = photo_header(content + file.read(), path)
    except OSError as error:
        raise UserError(f"{path}: the photo cannot be read: {error.strerror}") from error
    return header.height, header.width


def upright_photo_size(path: Path) -> tuple[int, int]:
    """Height and width of a photo whose annotations were made on it as it is shown.

    Raises:
        UserError: as `photo_size`; or an EXIF orientation has it shown otherwise than stored, and
            it is read as stored.
    """
    size = photo_size(path)
    if _orientation(path) != 1:
        raise UserError(
            f"{path}: its EXIF orientation has it shown turned, and people were labelled as shown;"
            " photos are read as stored: turn the pixels and drop the orientation (jpegtran,"
            " exiftran -a, mogrify -auto-orient), then convert again"
        )
    return size


def _orientation(path: Path) -> int:
    try:
        with Image.open(path, formats=("JPEG", "PNG", "WEBP", "BMP")) as photo:
            return int(photo.getexif().get(Base.Orientation, 1))
    except (OSError, ValueError, SyntaxError, TypeError):
        return 1  # a header without one that can be read: nobody turns it
