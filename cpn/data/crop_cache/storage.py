"""Where shards are read from: a folder, or any address of fsspec through bounded local copies."""

import hashlib
import math
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, Protocol

import fsspec
from filelock import FileLock, Timeout
from fsspec.core import url_to_fs

from cpn.data.crop_cache.index import INDEX_NAME, Shard
from cpn.errors import UserError, os_error_text
from cpn.files.remote import explained

GIBIBYTE = 1 << 30
FINISHED, UNFINISHED = ".tar", ".part"
SECONDS_BETWEEN_LOOKS = 0.05
TRIES = 3
SECONDS_BETWEEN_TRIES = 2.0


class LocalCopies(NamedTuple):
    """How shards from an address are kept on this machine.

    Attributes:
        folder: for the copies of any number of caches.
        limit_gib: what those of one cache, with its earlier versions, may occupy.
        window: how many shards are read in turn at a time, see `ShardWindow`; None: all of them.
        samples_ahead: how many samples the readers of this machine are apart, at most.
    """

    folder: Path = Path("data/shards")
    limit_gib: float = 50
    window: int | None = None
    samples_ahead: int = 0


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
    the longest time are deleted until it fits, also those of what was at this address before. A
    copy is complete and was compared with its checksum before it has its name.

    Args:
        address: of the cache, such as s3://bucket/crops.
        shards: all of it.
        people: how many are in them.
        copies: where the copies go.
        name: a folder name for this address's, unlike any other address's.
        version: begins the copies' names, unlike that of anything else at this address.

    Raises:
        UserError: there is too little room: every shard would be copied again and again.
    """

    def __init__(
        self,
        address: str,
        shards: Sequence[Shard],
        copies: LocalCopies,
        *,
        people: int,
        name: str,
        version: str,
    ) -> None:
        self._address = address.rstrip("/")
        self._copies = copies.folder / name
        self._version = version
        self._sizes = {self._copy_of(shard).name: shard.size for shard in shards}
        self._limit = int(copies.limit_gib * GIBIBYTE)
        _check_limit(address, list(self._sizes.values()), copies, people=people)
        self._copies.mkdir(parents=True, exist_ok=True)

    def read(self, shard: Shard, offset: int, length: int) -> bytes:
        """See `ShardReader`."""
        path = self._copy_of(shard)
        try:
            os.utime(path)
            return _read_part(path, offset, length)
        except FileNotFoundError:
            return self._fetch(shard, offset, length)

    def forget(self, shard: Shard) -> bool:
        """See `ShardReader`."""
        with self._alone():
            self._copy_of(shard).unlink(missing_ok=True)
        return True

    def where(self, shard: Shard) -> str:
        """See `ShardReader`."""
        return f"{self._address}/{shard.name}"

    def _copy_of(self, shard: Shard) -> Path:
        return self._copies / f"{self._version}.{shard.name}"

    def _fetch(self, shard: Shard, offset: int, length: int) -> bytes:
        """Makes the copy of a shard and reads it, before another process may delete it again."""
        path = self._copy_of(shard)
        unfinished = path.with_name(f"{path.name}{UNFINISHED}")
        with FileLock(self._lock_of(unfinished)):
            if path.exists():  # made by another process meanwhile
                with suppress(FileNotFoundError):
                    return _read_part(path, offset, length)
            self._make_room(shard, unfinished)
            try:
                self._copy(shard, unfinished)
                content = _read_part(unfinished, offset, length)
                with self._alone():
                    unfinished.replace(path)
            finally:
                with self._alone():
                    unfinished.unlink(missing_ok=True)
            return content

    def _copy(self, shard: Shard, unfinished: Path) -> None:
        """Networks break off: what fails is tried again."""
        for last in [False] * (TRIES - 1) + [True]:
            try:
                with explained(self.where(shard), copies=self._copies):
                    file_system, inner = url_to_fs(self.where(shard))
                    file_system.get_file(inner, str(unfinished))
                _compare(unfinished, shard, self.where(shard))
            except UserError:
                if last:
                    raise
                time.sleep(SECONDS_BETWEEN_TRIES)
            else:
                return

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
            elif path.suffix in (FINISHED, UNFINISHED) and path != but:
                status = path.stat()
                size = self._sizes.get(path.name.removesuffix(UNFINISHED), status.st_size)
                copies.append((status.st_mtime_ns, size, path))
        used = sum(size for _, size, _ in copies)
        for _, size, path in sorted(copies):
            if used > limit and path.suffix != UNFINISHED:
                path.unlink()
                used -= size
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


def _check_limit(address: str, sizes: list[int], copies: LocalCopies, *, people: int) -> None:
    """There must be room for the window, and for what readers that are ahead begin."""
    sizes = sorted(sizes, reverse=True)
    limit, ahead = int(copies.limit_gib * GIBIBYTE), 1
    if copies.samples_ahead:
        ahead += math.ceil(copies.samples_ahead * len(sizes) / people)
    in_use = len(sizes) if copies.window is None else min(len(sizes), copies.window + ahead)
    if sum(sizes[:in_use]) <= limit:
        return
    fitting = sum(total <= limit for total in accumulate(sizes)) - ahead
    window = f"data.cache_window to {fitting} or less, or " if fitting > 0 else ""
    raise UserError(
        f"data.cache_gib={copies.limit_gib:g} is too little for {in_use} of the {len(sizes)} shards"
        f" of {address}, {ahead} of them because loaders run ahead: set {window}data.cache_gib to "
        f"at least {_gib_rounded_up(sum(sizes[:in_use]))}"
    )


def _gib_rounded_up(size: int) -> str:
    """With three digits, so that the figure as it is shown suffices."""
    exponent = math.floor(math.log10(size / GIBIBYTE)) - 2
    return f"{math.ceil(size / GIBIBYTE / 10.0**exponent) * 10.0**exponent:.3g}"


def read_index_file(address: str) -> bytes:
    """The content of the index at an fsspec address.

    Raises:
        UserError: it cannot be read.
    """
    where = f"{address.rstrip('/')}/{INDEX_NAME}"
    with explained(where), fsspec.open(where, "rb") as file:
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
