"""Where each person's piece is: the cache's table of contents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy
import xxhash

from cpn.data.crop_cache.regions import IntArray
from cpn.data.persons import PersonInstances
from cpn.errors import UserError

FORMAT = "cpn-crops-1"
INDEX_NAME = "index.safetensors"

Encoding = Literal["raw", "jpeg"]
Rule = Mapping[str, Any]
HeaderT = TypeVar("HeaderT", bound=msgspec.Struct)

# KeyError is safetensors' for a kind of number that numpy has not.
UNREADABLE = (safetensors.SafetensorError, msgspec.MsgspecError, KeyError, ValueError)
INTEGERS = ("annotation_ids", "photos", "corners", "halvings", "shard", "offset", "length")
ARRAY_KINDS = {name: np.dtype(np.int64) for name in INTEGERS} | {"checksum": np.dtype(np.uint64)}


class Shard(NamedTuple):
    """A file of pieces.

    Attributes:
        name: in the cache's folder; a plain one, wherever the index comes from.
        size: bytes.
        sha256: of its content, hexadecimal.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"^shard-[0-9]{5,}\.tar\Z")]
    size: Annotated[int, msgspec.Meta(gt=0)]
    sha256: str


@dataclass(frozen=True)
class CacheIndex:
    """N persons' pieces.

    Attributes:
        encoding: of the pieces: PPM or JPEG.
        jpeg_quality: of JPEG pieces, else None.
        rule: the crop rule that they were made for, to be shown to people.
        shards: the files.
        annotation_ids: (N,) int64.
        photos: (N,) int64, see `photo_numbers`.
        corners: (N, 4) int64, see `Regions`.
        halvings: (N,) int64, see `Regions`.
        shard: (N,) int64 position in `shards`.
        offset: (N,) int64 byte of the shard that the piece's file begins with.
        length: (N,) int64 bytes of the piece's file.
        checksum: (N,) uint64 XXH3 of those bytes.
    """

    encoding: Encoding
    jpeg_quality: int | None
    rule: Rule
    shards: Sequence[Shard]
    annotation_ids: IntArray
    photos: IntArray
    corners: IntArray
    halvings: IntArray
    shard: IntArray
    offset: IntArray
    length: IntArray
    checksum: npt.NDArray[np.uint64]

    def to_bytes(self) -> bytes:
        """The index as a file; equal ones give equal bytes."""
        header = _Header(
            FORMAT, self.encoding, self.jpeg_quality, dict(self.rule), list(self.shards)
        )
        description = {"description": msgspec.json.encode(header).decode()}
        return safetensors.numpy.save(self._arrays(), metadata=description)

    @classmethod
    def from_bytes(cls, content: bytes, *, source: str) -> Self:
        """The index of a file.

        Args:
            content: of the file.
            source: the file, for errors.

        Raises:
            UserError: it is no index, or one of another version.
        """
        try:
            arrays = safetensors.numpy.load(content)
            found = _header(content, _Format).format
            header = _header(content, _Header) if found == FORMAT else None
        except UNREADABLE as error:
            raise UserError(f"{source}: no index of a crop cache: {error}") from error
        if header is None:
            raise UserError(
                f"{source}: no index of a crop cache that this version reads ({FORMAT}, found "
                f"{found!r}); make the cache again with scripts/prepare_data.py"
            )
        if not _belong_together(arrays, header.shards):
            raise UserError(f"{source}: a damaged index of a crop cache; make or copy it again")
        return cls(header.encoding, header.jpeg_quality, header.rule, header.shards, **arrays)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """One index of several with one encoding and rule, in their order."""
        first = np.cumsum([0] + [len(part.shards) for part in parts[:-1]])
        arrays: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAY_KINDS
        }
        arrays["shard"] = np.concatenate(
            [part.shard + start for part, start in zip(parts, first, strict=True)]
        )
        shards = [shard for part in parts for shard in part.shards]
        return replace(parts[0], shards=shards, **arrays)

    def of_shard(self, number: int) -> Self:
        """The part of the index that is about one shard."""
        rows = self.shard == number
        arrays = {name: values[rows] for name, values in self._arrays().items()}
        arrays["shard"] = np.zeros_like(arrays["shard"])
        return replace(self, shards=[self.shards[number]], **arrays)

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {name: getattr(self, name) for name in ARRAY_KINDS}


def _belong_together(arrays: Mapping[str, npt.NDArray[Any]], shards: Sequence[Shard]) -> bool:
    """Whether they are the arrays of an index: all of them, of one length, of files in shards."""
    if arrays.keys() != ARRAY_KINDS.keys() or len({shard.name for shard in shards}) != len(shards):
        return False
    count = len(arrays["shard"])
    shapes = {name: (count, 4) if name == "corners" else (count,) for name in arrays}
    if not count or any(
        array.dtype != ARRAY_KINDS[name] or array.shape != shapes[name]
        for name, array in arrays.items()
    ):
        return False
    shard, offset, length = (arrays[name] for name in ("shard", "offset", "length"))
    if shard.min() < 0 or shard.max() >= len(shards):
        return False
    sizes, corners = np.array([each.size for each in shards])[shard], arrays["corners"]
    inside = (offset >= 0) & (length > 0) & (length <= sizes) & (offset <= sizes - length)
    extents = (corners[:, :2] >= 0).all() and (corners[:, :2] < corners[:, 2:]).all()
    return bool(inside.all() and extents and (arrays["halvings"] >= 0).all())


class _Format(msgspec.Struct, frozen=True):
    """What every version says."""

    format: str = ""


class _Header(msgspec.Struct, frozen=True):
    """What the index says in words."""

    format: str
    encoding: Encoding
    jpeg_quality: int | None
    rule: dict[str, Any]
    shards: list[Shard]


class _Metadata(msgspec.Struct, frozen=True):
    """safetensors' header, as far as it is read here."""

    strings: dict[str, str] = msgspec.field(default_factory=dict, name="__metadata__")


def _header(content: bytes, kind: type[HeaderT]) -> HeaderT:
    """A safetensors file begins with the length of its header, and the header as JSON."""
    length = int.from_bytes(content[:8], "little")
    metadata = msgspec.json.decode(content[8 : 8 + length], type=_Metadata)
    return msgspec.json.decode(metadata.strings.get("description", "{}"), type=kind)


def photo_numbers(persons: PersonInstances) -> IntArray:
    """(N,) a number for each person's photo: a hash of its file name."""
    return np.array(
        [xxhash.xxh3_64_intdigest(name) for name in persons.file_names.tolist()], dtype=np.uint64
    ).view(np.int64)
