"""Writing a crop cache: shard by shard, so that it can be stopped and taken up again."""

import hashlib
import io
import logging
import tarfile
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
import xxhash
from filelock import FileLock, Timeout

from cpn.data.crop_cache.index import (
    INDEX_NAME,
    CacheIndex,
    Encoding,
    Rule,
    Shard,
    photo_numbers,
)
from cpn.data.crop_cache.regions import STORED_MARGIN, IntArray, Regions, shown_regions
from cpn.data.crop_cache.storage import file_sha256
from cpn.data.image_files import read_annotated_image
from cpn.data.persons import PersonInstances
from cpn.data.transforms import PersonCrop
from cpn.errors import UserError
from cpn.files.atomic import write_atomically
from cpn.geometry.crop import halve_image
from cpn.process.pool import process_pool

logger = logging.getLogger(__name__)

Uint8Array = npt.NDArray[np.uint8]

LOCK_NAME = ".lock"
SHARDS_PER_MESSAGE = 10


@dataclass(frozen=True)
class CacheSettings:
    """How pieces are stored.

    Attributes:
        encoding: raw pixels (PPM), or JPEG, a fifth to an eighth of the size.
        jpeg_quality: of JPEG, 1 to 100.
        people_per_shard: 1 or more.
        rule: the crop rule for people, see `CacheIndex`.
    """

    encoding: Encoding
    jpeg_quality: int
    people_per_shard: int
    rule: Rule

    @property
    def quality(self) -> int | None:
        """Of JPEG; None where there is none."""
        return self.jpeg_quality if self.encoding == "jpeg" else None


@dataclass(frozen=True)
class CacheSummary:
    """What was written.

    Attributes:
        shards: how many there are.
        made: how many of them were made by this call.
        size: bytes of all.
    """

    shards: int
    made: int
    size: int


@dataclass(frozen=True)
class _ShardTask:
    """One shard's people, those of a photo together."""

    name: str
    folder: Path
    persons: PersonInstances
    regions: Regions
    settings: CacheSettings


def write_cache(
    folder: Path,
    persons: PersonInstances,
    crop: PersonCrop,
    settings: CacheSettings,
    *,
    workers: int = 0,
) -> CacheSummary:
    """Writes the shards that are not there, then the index; mends a cache that is complete.

    The same persons and settings give the same bytes, whatever was interrupted.

    Args:
        folder: where to.
        persons: to be cropped.
        crop: the rule that the pieces must suffice for.
        settings: how they are stored.
        workers: processes; 0: this one does it all.

    Raises:
        UserError: the folder holds another cache, another process is writing to it, or a photo
            cannot be read; what is finished stays.
        OSError: the disk is full or the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK_NAME, timeout=0):
            return _write(folder, persons, crop, settings, workers)
    except Timeout as error:
        raise UserError(f"{folder}: another process is writing this crop cache") from error


def _write(
    folder: Path, persons: PersonInstances, crop: PersonCrop, settings: CacheSettings, workers: int
) -> CacheSummary:
    tasks = _plan(folder, persons, crop, settings)
    for leftover in folder.glob(".*.tmp"):  # of a process that died: the lock is ours
        leftover.unlink()
    finished = _finished(folder, tasks)
    missing = [task for task in tasks if task.name not in finished]
    if finished:
        logger.info("%s: %d of %d shards are there", folder, len(finished), len(tasks))
    for number, part in enumerate(_made(missing, workers), start=1):
        finished[part.shards[0].name] = part
        if number % SHARDS_PER_MESSAGE == 0 or number == len(missing):
            logger.info("%s: %d of %d shards written", folder, number, len(missing))
    index = CacheIndex.joined([finished[task.name] for task in tasks])
    write_atomically(folder / INDEX_NAME, index.to_bytes())
    for task in tasks:
        _part_path(task).unlink(missing_ok=True)
    return CacheSummary(len(tasks), len(missing), sum(shard.size for shard in index.shards))


def _plan(
    folder: Path, persons: PersonInstances, crop: PersonCrop, settings: CacheSettings
) -> list[_ShardTask]:
    """The shards, in order; the people of a photo follow each other, so it is decoded once."""
    rows = np.argsort(persons.image_ids, kind="stable")
    persons = persons.take(rows)
    regions = shown_regions(persons, crop, margin=STORED_MARGIN)
    tasks = []
    for number, start in enumerate(range(0, len(persons), settings.people_per_shard)):
        part = slice(start, start + settings.people_per_shard)
        own = Regions(*(values[part] for values in regions))
        tasks.append(_ShardTask(f"shard-{number:05d}.tar", folder, persons[part], own, settings))
    return tasks


def _part_path(task: _ShardTask) -> Path:
    """A finished shard's index, until all are finished."""
    return task.folder / f"{Path(task.name).stem}.{INDEX_NAME}"


def _finished(folder: Path, tasks: list[_ShardTask]) -> dict[str, CacheIndex]:
    """The indices of the shards that are there already and whole, by name.

    Raises:
        UserError: they were made of other people or in another way.
    """
    parts = {}
    complete = _read_index(folder / INDEX_NAME)
    if complete is not None:
        names = [shard.name for shard in complete.shards]
        parts = {name: complete.of_shard(number) for number, name in enumerate(names)}
    for task in tasks:
        part = _read_index(_part_path(task))
        if part is not None:
            parts[task.name] = part
    wanted = {task.name: task for task in tasks}
    if any(name not in wanted or not _is_of(part, wanted[name]) for name, part in parts.items()):
        raise UserError(
            f"{folder}: holds the crop cache of other annotations, another crop rule or other "
            "settings; choose another out=..., or delete it"
        )
    return {name: part for name, part in parts.items() if _is_whole(folder, part.shards[0])}


def _read_index(path: Path) -> CacheIndex | None:
    if not path.is_file():
        return None
    return CacheIndex.from_bytes(path.read_bytes(), source=str(path))


def _is_whole(folder: Path, shard: Shard) -> bool:
    path = folder / shard.name
    return path.is_file() and file_sha256(path) == shard.sha256


def _is_of(part: CacheIndex, task: _ShardTask) -> bool:
    wanted = (*task.regions[:2], task.persons.annotation_ids, photo_numbers(task.persons))
    found = (part.corners, part.halvings, part.annotation_ids, part.photos)
    same = all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))
    settings = task.settings
    stored = (part.encoding, part.jpeg_quality, part.rule)
    return same and stored == (settings.encoding, settings.quality, settings.rule)


def _made(tasks: list[_ShardTask], workers: int) -> Iterator[CacheIndex]:
    """The shards' indices in the tasks' order, each after its shard was written."""
    if not workers:
        yield from map(_make_shard, tasks)
        return
    with process_pool(workers) as pool:
        try:
            yield from pool.map(_make_shard, tasks)
        except BrokenProcessPool as error:
            raise UserError(
                "a process that wrote a shard was killed, probably because memory ran out: choose "
                "fewer data.workers or people_per_shard; what is finished stays"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _make_shard(task: _ShardTask) -> CacheIndex:
    """Writes a shard and, after it, its index."""
    content, offsets, files = io.BytesIO(), [], list(_files(task))
    suffix = "ppm" if task.settings.encoding == "raw" else "jpg"
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for annotation_id, file in zip(task.persons.annotation_ids.tolist(), files, strict=True):
            entry = tarfile.TarInfo(f"{annotation_id:012d}.{suffix}")
            entry.size = len(file)
            offsets.append(tar.offset + tarfile.BLOCKSIZE)
            tar.addfile(entry, io.BytesIO(file))
    whole = content.getvalue()
    write_atomically(task.folder / task.name, whole)
    part = CacheIndex(
        encoding=task.settings.encoding,
        jpeg_quality=task.settings.quality,
        rule=task.settings.rule,
        shards=[Shard(task.name, len(whole), hashlib.sha256(whole).hexdigest())],
        annotation_ids=task.persons.annotation_ids,
        photos=photo_numbers(task.persons),
        corners=task.regions.corners,
        halvings=task.regions.halvings,
        shard=np.zeros(len(files), dtype=np.int64),
        offset=np.array(offsets, dtype=np.int64),
        length=np.array([len(file) for file in files], dtype=np.int64),
        checksum=np.array([xxhash.xxh3_64_intdigest(file) for file in files], dtype=np.uint64),
    )
    write_atomically(_part_path(task), part.to_bytes())
    return part


def _files(task: _ShardTask) -> Iterator[bytes]:
    """The people's pieces as files."""
    photo, path = np.zeros((0, 0, 3), dtype=np.uint8), None
    encode = _ppm
    if task.settings.encoding == "jpeg":
        encode = partial(_jpeg, quality=task.settings.jpeg_quality)
    corners: IntArray = task.regions.corners
    for person, (x0, y0, x1, y1), halvings in zip(
        task.persons, corners.tolist(), task.regions.halvings.tolist(), strict=True
    ):
        if person.image_path != path:
            photo, path = read_annotated_image(person), person.image_path
        piece = halve_image(np.ascontiguousarray(photo[y0:y1, x0:x1]), halvings)
        yield encode(piece)


def _ppm(piece: Uint8Array) -> bytes:
    rgb = piece if piece.shape[-1] == 3 else cv2.cvtColor(piece, cv2.COLOR_RGBA2RGB)
    height, width = rgb.shape[:2]
    return b"P6\n%d %d\n255\n" % (width, height) + rgb.tobytes()


def _jpeg(piece: Uint8Array, *, quality: int) -> bytes:
    colours = "RGB" if piece.shape[-1] == 3 else "RGBX"
    return bytes(
        simplejpeg.encode_jpeg(piece, quality=quality, colorspace=colours, colorsubsampling="420")
    )
