"""Large files on a disk that may be full."""

import shutil
from pathlib import Path

from cpn.errors import UserError
from cpn.files.atomic import write_atomically


def write_if_there_is_room(path: Path, content: bytes, *, what: str, way_out: str) -> None:
    """`write_atomically`, whose error says how much room the file needs.

    Args:
        path: Where to; its folder is made.
        content: What to write.
        what: The content in words.
        way_out: What the user can do.

    Raises:
        UserError: The disk is full or cannot be written; what was there is as it was.
    """
    try:
        write_atomically(path, content)
    except OSError as error:
        free = shutil.disk_usage(path.parent).free if path.parent.is_dir() else 0
        raise UserError(
            f"{path}: {what} cannot be written: {error.strerror}; it needs {len(content)} bytes, "
            f"{free} are free; {way_out}"
        ) from error
