"""Files that are either complete or absent, and JSON that every parser reads."""

import errno
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# A file name has at most 255 bytes; the temporary one adds the process number to this many.
_KEPT_NAME_BYTES = 200


def write_atomically(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Replace `path` by `content` so that a crash leaves the old file or the new one, whole.

    Temporary file in the same folder, fsync, rename, fsync of the folder. A link stays and its
    file is replaced. What is there and no regular file, as /dev/null, is written to as it is.

    Args:
        path: where to; its folder is made.
        content: what to write.
        sync: also outlive a crash of the machine; False is for many files that can be made anew.

    Raises:
        OSError: the disk is full or the folder cannot be written; `path` is unchanged. It names
            `path`, not the temporary file.
    """
    if path.parent.exists() and not path.parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent))
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    target = path.resolve() if path.is_symlink() else path
    temporary = _temporary_name(target)
    try:
        _write(temporary, content, sync=sync)
        temporary.replace(target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    if sync:
        _sync_folder(target.parent)


class GrowingFile:
    """A file that is written bit by bit under a temporary name, and then gets its own.

    It appears whole or not at all, as with `write_atomically`, without being held in memory.

    Args:
        path: where to; its folder is made.

    Attributes:
        temporary: the name to write to, in the same folder.

    Raises:
        OSError: the folder cannot be made.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self.temporary = _temporary_name(path.resolve() if path.is_symlink() else path)

    def commit(self) -> None:
        """Brings the content to the disk and gives the file its name.

        Raises:
            OSError: it cannot be renamed; it is gone then, and what had the name before stays.
        """
        try:
            with self.temporary.open("rb") as file:
                os.fsync(file.fileno())
            self.temporary.replace(self._path.resolve() if self._path.is_symlink() else self._path)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        finally:
            self.discard()
        _sync_folder(self._path.parent)

    def discard(self) -> None:
        """Leaves nothing of it; after `commit` this does nothing."""
        self.temporary.unlink(missing_ok=True)


def append_whole(path: Path, content: bytes) -> None:
    """Add all of `content` to the end of `path`, or nothing; the file is made where there is none.

    Raises:
        OSError: the disk is full or the file cannot be written; what it held stays as it was.
    """
    with path.open("ab", buffering=0) as file:
        before = file.seek(0, os.SEEK_END)
        try:
            written = 0
            while written < len(content):  # a disk that gets full takes a part before it complains
                written += file.write(content[written:])
        except OSError as error:
            file.truncate(before)
            raise OSError(error.errno, error.strerror, str(path)) from error


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


def _temporary_name(target: Path) -> Path:
    kept_name = os.fsdecode(os.fsencode(target.name)[:_KEPT_NAME_BYTES])
    return target.with_name(f".{kept_name}.{os.getpid()}.tmp")


def _write(path: Path, content: bytes, *, sync: bool) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        if sync:
            os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
