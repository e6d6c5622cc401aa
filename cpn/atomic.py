"""Files that are either complete or absent, and JSON that every parser reads."""

import errno
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content` so that a crash leaves the old file or the new one, whole.

    Temporary file in the same folder, fsync, rename, fsync of the folder.

    Raises:
        OSError: the disk is full or the folder cannot be written; `path` is unchanged. It names
            `path`, not the temporary file.
    """
    if path.parent.exists() and not path.parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _write(temporary, content)
        temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def write_json(path: Path, document: object) -> None:
    """Write a JSON file with `write_atomically`; numbers keep all their digits.

    Raises:
        ValueError: a number is NaN or infinite (see `plain_json`); nothing is written.
        OSError: as `write_atomically`.
    """
    write_atomically(path, json.dumps(document, allow_nan=False).encode())


def plain_json(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The same value with every non-finite float as null, which JSON has instead."""
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
