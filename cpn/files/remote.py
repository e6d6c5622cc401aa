"""Addresses of fsspec (https://, s3://, …): told from paths, explained, fetched once."""

import errno
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from filelock import FileLock
from fsspec.core import url_to_fs

from cpn.errors import UserError

LOCAL_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def is_remote(address: str) -> bool:
    """Whether it is an fsspec address rather than a path."""
    return "://" in address


@contextmanager
def explained(where: str, *, copies: Path | None = None) -> Iterator[None]:
    """Says what a file system behind fsspec raised; each has exceptions of its own."""
    try:
        yield
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        if isinstance(error, OSError) and error.errno in LOCAL_ERRORS:
            raise UserError(f"{copies}: no copy of {where} can be written: {text}") from error
        raise UserError(f"{where}: cannot be read: {text}") from error


def fetch_once(address: str, folder: Path, check: Callable[[Path], object]) -> Path:
    """The local copy of a file at an address; made at the first call, by one process at a time.

    Args:
        address: of fsspec, such as https://…/model.safetensors.
        folder: for the copies of any number of addresses.
        check: raises if a file is not what is wanted; then there is no copy.

    Raises:
        UserError: the address cannot be read, or the copy not written.
    """
    name = PurePosixPath(address.partition("?")[0]).name
    copy = folder / f"{hashlib.sha256(address.encode()).hexdigest()[:16]}-{name}"
    if copy.exists():
        return copy
    with explained(address, copies=folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{copy}.lock")
    unfinished = copy.with_name(f"unfinished-{copy.name}")  # which keeps what the name ends with
    with lock:
        if copy.exists():  # made by another process meanwhile
            return copy
        try:
            with explained(address, copies=folder):
                file_system, inner = url_to_fs(address)
                file_system.get_file(inner, str(unfinished))
            check(unfinished)
            unfinished.replace(copy)
        finally:
            unfinished.unlink(missing_ok=True)
    return copy
