"""Where shards are read from: a folder, or any address of fsspec through bounded local copies."""

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import fsspec
from filelock import FileLock, Timeout
from fsspec.core import url_to_fs

from cpn.data.crop_cache.index import INDEX_NAME, Shard
from cpn.errors import UserError, os_error_text

GIBIBYTE = 1 << 30
# What fsspec and its file systems raise for what a person can mend: a missing file or package, an
# unknown protocol, a refused connection.
REMOTE_ERRORS = (OSError, ValueError, ImportError)
UNFINISHED = ".part"
SPARE_SHARDS = 2  # beside the window: the one that comes next, and the one that just went
SECONDS_BETWEEN_LOOKS = 0.05


class LocalCopies(NamedTuple):
    """How shards from an address are kept on this machine.

    Attributes:
        folder: for the copies of any number of caches.
        limit_gib: what those of one cache may occupy.
        window: how many shards are read in turn at a time, see `ShardWindow`; None: all of them.
    """

    folder: Path = Path("data/shards")
    limit_gib: float = 50
    window: int | None = None


class ShardReader(Protocol):
    """Bytes of shards, from any number of processes at a time."""

    def read(self, shard: Shard, offset: int, length: int) -> bytes:
        """`length` bytes of a shard, fewer where it ends.

        Raises:
            UserError: the shard cannot be read.
        """
        ...

    def forget(self, shard: Shard) -> bool:
        """Whether there was a local copy, which the next read makes anew."""
        ...

    def where(self, shard: Shard) -> str:
        """The shard's address, for errors."""
        ...


class LocalShards:
    """Shards in a folder.

    Args:
        folder: of the cache.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, shard: Shard, offset: int, length: int) -> bytes:
        """See `ShardReader`."""
        try:
            return _read_part(self._folder / shard.name, offset, length)
        except OSError as error:
            raise UserError(f"cannot read the crop cache: {os_error_text(error)}") from error

    def forget(self, shard: Shard) -> bool:  # noqa: ARG002
        """See `ShardReader`."""
        return False

    def where(self, shard: Shard) -> str:
        """See `ShardReader`."""
        return str(self._folder / shard.name)


class RemoteShards:
    """Shards at an fsspec address, read from local copies that are made when they are needed.

    All processes of a machine share the copies. Before one is made, those that were not used for
    the longest time are deleted until it fits. A copy is complete and was compared with its
    checksum before it has its name.

    Args:
        address: of the cache, such as s3://bucket/crops.
        shards: all of it.
        copies: where the copies go.
        name: a folder name for this cache's, unlike any other cache's.

    Raises:
        UserError: there is too little room: every shard would be copied again and again.
    """

    def __init__(
        self, address: str, shards: Sequence[Shard], copies: LocalCopies, *, name: str
    ) -> None:
        self._address = address.rstrip("/")
        self._sizes = {shard.name: shard.size for shard in shards}
        self._copies = copies.folder / name
        self._limit = int(copies.limit_gib * GIBIBYTE)
        _check_limit(address, list(self._sizes.values()), self._limit, copies.window)
        self._copies.mkdir(parents=True, exist_ok=True)

    def read(self, shard: Shard, offset: int, length: int) -> bytes:
        """See `ShardReader`."""
        path = self._copies / shard.name
        try:
            os.utime(path)
            return _read_part(path, offset, length)
        except FileNotFoundError:
            return self._fetch(shard, offset, length)

    def forget(self, shard: Shard) -> bool:
        """See `ShardReader`."""
        with self._alone():
            (self._copies / shard.name).unlink(missing_ok=True)
        return True

    def where(self, shard: Shard) -> str:
        """See `ShardReader`."""
        return f"{self._address}/{shard.name}"

    def _fetch(self, shard: Shard, offset: int, length: int) -> bytes:
        """Makes the copy of a shard and reads it, before another process may delete it again."""
        path, unfinished = self._copies / shard.name, self._copies / f"{shard.name}{UNFINISHED}"
        with FileLock(self._lock_of(unfinished)):
            if path.exists():  # made by another process meanwhile
                with suppress(FileNotFoundError):
                    return _read_part(path, offset, length)
            self._make_room(shard, unfinished)
            try:
                with _explained(self.where(shard)):
                    file_system, inner = url_to_fs(self.where(shard))
                    file_system.get_file(inner, str(unfinished))
                _compare(unfinished, shard, self.where(shard))
                content = _read_part(unfinished, offset, length)
                with self._alone():
                    unfinished.replace(path)
            finally:
                with self._alone():
                    unfinished.unlink(missing_ok=True)
            return content

    def _alone(self) -> FileLock:
        """Held by whoever changes the folder's list of files, or goes by it."""
        return FileLock(self._copies / "list.lock")

    def _make_room(self, shard: Shard, unfinished: Path) -> None:
        """Deletes old copies; the unfinished one, still empty, counts as a whole shard."""
        while True:
            with self._alone():
                if self._delete_until(self._limit - shard.size, but=unfinished):
                    unfinished.touch()
                    return
            time.sleep(SECONDS_BETWEEN_LOOKS)  # others are still copying

    def _delete_until(self, limit: int, *, but: Path) -> bool:
        """Deletes finished copies, the longest unused first, until the rest is within a limit."""
        copies = []
        for path in self._copies.iterdir():
            if path.suffix == UNFINISHED and path != but and self._is_abandoned(path):
                path.unlink()
            elif path.name.removesuffix(UNFINISHED) in self._sizes and path != but:
                copies.append((path.stat().st_mtime_ns, path))
        used = sum(self._sizes[path.name.removesuffix(UNFINISHED)] for _, path in copies)
        for _, path in sorted(copies):
            if used > limit and path.suffix != UNFINISHED:
                path.unlink()
                used -= self._sizes[path.name]
        return used <= limit

    def _is_abandoned(self, unfinished: Path) -> bool:
        """Whether the process that was making a copy is dead: the system took its lock back."""
        try:
            with FileLock(self._lock_of(unfinished), timeout=0):
                return True
        except Timeout:
            return False

    @staticmethod
    def _lock_of(unfinished: Path) -> Path:
        return unfinished.with_suffix(".lock")


def _check_limit(address: str, sizes: list[int], limit: int, window: int | None) -> None:
    largest = max(sizes)
    in_use = len(sizes) if window is None else min(len(sizes), window + SPARE_SHARDS)
    if sum(sorted(sizes)[-in_use:]) <= limit:
        return
    most = limit // largest - SPARE_SHARDS
    way_out = f"set data.cache_window to {most} or less, or" if most > 0 else "set"
    raise UserError(
        f"data.cache_gib={limit / GIBIBYTE:g} is too little for {in_use} of the {len(sizes)} shards"
        f" of {address}, {sum(sizes) / GIBIBYTE:.3g} GiB in all: {way_out} data.cache_gib to at "
        f"least {(SPARE_SHARDS + 1) * largest / GIBIBYTE:.2g}"
    )


def is_remote(address: str) -> bool:
    """Whether it is an fsspec address rather than a folder."""
    return "://" in address


def read_index_file(address: str) -> bytes:
    """The content of the index at an fsspec address.

    Raises:
        UserError: it cannot be read.
    """
    where = f"{address.rstrip('/')}/{INDEX_NAME}"
    with _explained(where), fsspec.open(where, "rb") as file:
        content: bytes = file.read()
    return content


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_part(path: Path, offset: int, length: int) -> bytes:
    """Part of a file; not mapped into memory, where a file that shrinks would kill the process."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, length, offset)
    finally:
        os.close(descriptor)


def _compare(path: Path, shard: Shard, where: str) -> None:
    """Refuses a copy that is not what the index says."""
    if path.stat().st_size == shard.size and file_sha256(path) == shard.sha256:
        return
    raise UserError(
        f"{where}: the shard is not the one that the index describes (SHA-256 differs); copy the "
        "cache there again, the index last"
    )


@contextmanager
def _explained(where: str) -> Iterator[Any]:
    try:
        yield
    except REMOTE_ERRORS as error:
        raise UserError(f"{where}: cannot be read: {error}") from error
