"""Pieces out of the cache, after it was made sure that they are the right ones."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import xxhash

from cpn.data.crop_cache.index import INDEX_NAME, CacheIndex, Rule, Shard, photo_numbers
from cpn.data.crop_cache.regions import IntArray, shown_regions
from cpn.data.crop_cache.storage import (
    LocalCopies,
    LocalShards,
    RemoteShards,
    ShardReader,
    read_index_file,
)
from cpn.data.jpeg import decode_rgbx
from cpn.data.persons import PersonInstance, PersonInstances
from cpn.data.transforms import PersonCrop
from cpn.errors import UserError, count_records
from cpn.files.remote import is_remote
from cpn.geometry.crop import Placement

logger = logging.getLogger(__name__)

PREPARE = "python scripts/prepare_data.py"
ANOTHER = f"{PREPARE} out=... with this run's other options makes another cache"


@dataclass(frozen=True)
class CropCache:
    """The pieces of N persons, in the persons' order.

    Attributes:
        index: of the whole cache.
        rows: (N,) int64: where the index has each person.
        shards: reads them.
    """

    index: CacheIndex
    rows: IntArray
    shards: ShardReader

    @property
    def shard_numbers(self) -> IntArray:
        """(N,) the shard that holds each person."""
        return self.index.shard[self.rows]

    def read(self, instance: PersonInstance) -> tuple[npt.NDArray[np.uint8], Placement]:
        """A person's part of its photo.

        Args:
            instance: one of the persons that the cache was opened for, told by its `index`.

        Returns:
            (h, w, 4) uint8, see `cpn.data.image_files.read_annotated_image`, and where it lies.

        Raises:
            UserError: the piece cannot be read, or is not what was written.
        """
        row = int(self.rows[instance.index])
        content = self._content(row)
        x0, y0, x1, y1 = self.index.corners[row].tolist()
        placement = Placement(x0, y0, int(self.index.halvings[row]))
        side = 2**placement.halvings
        height, width = (y1 - y0) // side, (x1 - x0) // side
        if self.index.encoding == "jpeg":
            return decode_rgbx(content, (height, width)), placement
        pixels = np.frombuffer(content, dtype=np.uint8)[-height * width * 3 :]
        rgba = cv2.cvtColor(pixels.reshape(height, width, 3), cv2.COLOR_RGB2RGBA)
        return np.asarray(rgba, dtype=np.uint8), placement

    def _content(self, row: int) -> bytes:
        """A piece's file; a damaged local copy of a shard is made anew, once."""
        shard = self.index.shards[int(self.index.shard[row])]
        offset, length = int(self.index.offset[row]), int(self.index.length[row])
        expected = int(self.index.checksum[row])
        content = self.shards.read(shard, offset, length)
        if xxhash.xxh3_64_intdigest(content) != expected and self.shards.forget(shard):
            content = self.shards.read(shard, offset, length)
        if xxhash.xxh3_64_intdigest(content) != expected:
            raise self._damaged(shard, row)
        return content

    def _damaged(self, shard: Shard, row: int) -> UserError:
        number = self.index.annotation_ids[row]
        return UserError(
            f"{self.shards.where(shard)}: the piece of annotation {number} is damaged (its checksum"
            f" differs); {PREPARE} as it was called makes damaged shards again"
        )


def open_cache(
    address: str,
    persons: PersonInstances,
    crop: PersonCrop,
    *,
    rule: Rule,
    copies: LocalCopies = LocalCopies(),  # noqa: B008 - immutable
) -> CropCache:
    """Opens a cache for persons and a crop rule.

    It may have more persons, more of the photos and more pixels than needed.

    Args:
        address: a folder, or an fsspec address such as s3://bucket/crops.
        persons: to be cropped.
        crop: the rule.
        rule: the same for people, see `CacheIndex`; says in errors what the cache has otherwise.
        copies: where shards from an address are kept.

    Raises:
        UserError: there is no complete cache, or it lacks persons, or parts of their photos.
    """
    content = _read_index(address)
    index = CacheIndex.from_bytes(content, source=f"{address.rstrip('/')}/{INDEX_NAME}")
    rows = _find(index, persons, address)
    needed = shown_regions(persons, crop)
    lacking = needed.missing_in(index.corners[rows], index.halvings[rows])
    if lacking.any():
        ids = persons.annotation_ids[lacking].tolist()
        raise UserError(
            f"data.cache={address} holds too little of the photos of {_of(ids, persons)}: "
            f"{_difference(index.rule, rule)}; {ANOTHER}"
        )
    if is_remote(address):
        people = len(index.shard)
        shards = RemoteShards(
            address,
            index.shards,
            copies,
            people=people,
            name=xxhash.xxh3_64_hexdigest(address.rstrip("/").encode()),
            version=xxhash.xxh3_64_hexdigest(content),
        )
        logger.info("%s: %d pieces in %d shards", address, people, len(index.shards))
        return CropCache(index, rows, shards)
    _check_files(Path(address), index)
    return CropCache(index, rows, LocalShards(Path(address)))


def _read_index(address: str) -> bytes:
    if is_remote(address):
        return read_index_file(address)
    folder = Path(address)
    if not (folder / INDEX_NAME).is_file():
        there = len(list(folder.glob("shard-*.tar")))
        state = f"it is not finished ({there} shards so far)" if there else "there is none"
        if not folder.is_dir():
            state = "it is no folder" if folder.exists() else "there is no such folder"
        raise UserError(
            f"data.cache={address}: no crop cache, {state}; {PREPARE} out={address} with this "
            "run's other options makes it"
        )
    return (folder / INDEX_NAME).read_bytes()


def _find(index: CacheIndex, persons: PersonInstances, address: str) -> IntArray:
    """(N,) the persons' rows of the index."""
    order = np.argsort(index.annotation_ids, kind="stable")
    places = np.searchsorted(index.annotation_ids, persons.annotation_ids, sorter=order)
    rows = order[np.minimum(places, len(order) - 1)]
    known = index.annotation_ids[rows] == persons.annotation_ids
    reasons = {
        "lacks": ~known,
        "was made of other photos than those of": known
        & (index.photos[rows] != photo_numbers(persons)),
    }
    for reason, wrong in reasons.items():
        if wrong.any():
            ids = persons.annotation_ids[wrong].tolist()
            raise UserError(
                f"data.cache={address} {reason} {_of(ids, persons)}: it belongs to another "
                f"annotation file, or was made with a smaller data.train.limit; {ANOTHER}"
            )
    return np.asarray(rows, dtype=np.int64)


def _of(ids: list[int], persons: PersonInstances) -> str:
    return f"{count_records('annotation', ids)} of {len(persons)}"


def _difference(cached: Rule, wanted: Rule) -> str:
    """The settings that differ, or that it must be the annotations."""
    keys = [key for key in wanted if cached.get(key) != wanted[key]]
    if not keys:
        return "their boxes or keypoints have changed since it was made"
    both: Mapping[str, str] = {key: f"{key} {wanted[key]}, not {cached.get(key)}" for key in keys}
    return f"this run crops with {'; '.join(both.values())}"


def _check_files(folder: Path, index: CacheIndex) -> None:
    """Every shard must be there in full length; what it holds is checked when it is read."""
    for shard in index.shards:
        path = folder / shard.name
        if not path.is_file() or path.stat().st_size != shard.size:
            state = "cut off or changed" if path.is_file() else "missing"
            raise UserError(
                f"{path}: this shard of the crop cache is {state}; {PREPARE} as it was called "
                "mends it"
            )
    logger.info("%s: %d pieces in %d shards", folder, len(index.shard), len(index.shards))
