"""Sizes of photos, for annotations that do not have them."""

from pathlib import Path

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
