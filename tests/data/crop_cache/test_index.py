import dataclasses
from typing import Any

import msgspec
import numpy as np
import pytest
import safetensors.numpy
import xxhash

from cpn.data.crop_cache import CacheIndex, Shard
from cpn.data.crop_cache.index import photo_numbers
from cpn.errors import UserError
from tests.data.crop_cache.cases import persons_at


def _index(*names: str, first: int = 1) -> CacheIndex:
    """Two people a shard; every figure is the annotation's number times something."""
    ids = np.arange(first, first + 2 * len(names))
    return CacheIndex(
        encoding="raw",
        jpeg_quality=None,
        rule={"input.height": 64, "augment.scale_range": [0.7, 1.35]},
        shards=[Shard(name, 10_000, "ab" * 32) for name in names],
        annotation_ids=ids,
        photos=-10 * ids,
        corners=ids[:, None] * np.array([0, 0, 16, 32]),
        halvings=ids % 3,
        shard=np.repeat(np.arange(len(names)), 2),
        offset=512 * ids,
        length=100 * ids,
        checksum=ids.astype(np.uint64) + np.uint64(2**63),
    )


def _assert_equal(found: CacheIndex, expected: CacheIndex) -> None:
    for field in dataclasses.fields(CacheIndex):
        values = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(values[1], np.ndarray):
            assert values[0].dtype == values[1].dtype, field.name
        np.testing.assert_equal(*values, err_msg=field.name)


def test_an_index_survives_its_file() -> None:
    index = _index("shard-00000.tar", "shard-00001.tar")
    content = index.to_bytes()
    again = CacheIndex.from_bytes(content, source="x")
    _assert_equal(again, index)
    assert again.to_bytes() == content
    assert again.corners[1].tolist() == [0, 0, 32, 64]
    assert again.halvings.tolist() == [1, 2, 0, 1]


def test_indices_are_joined_and_taken_apart() -> None:
    first = _index("shard-00000.tar", "shard-00001.tar")
    second = _index("shard-00002.tar", first=5)
    joined = CacheIndex.joined([first, second])
    _assert_equal(joined, _index("shard-00000.tar", "shard-00001.tar", "shard-00002.tar"))
    assert joined.shard.tolist() == [0, 0, 1, 1, 2, 2]
    _assert_equal(joined.of_shard(2), second)
    _assert_equal(joined.of_shard(1), _index("shard-00001.tar", first=3))


def test_photos_are_told_apart_by_their_names() -> None:
    persons = persons_at([[0, 0, 1, 1]] * 3, (2, 2))
    persons = dataclasses.replace(persons, file_names=np.array([b"a.jpg", b"b.jpg", b"a.jpg"]))
    numbers = photo_numbers(persons)
    assert numbers.dtype == np.int64
    assert int(numbers[0]) % 2**64 == xxhash.xxh3_64_intdigest(b"a.jpg")
    assert numbers[0] == numbers[2] != numbers[1]


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 100, b"\x02\0\0\0\0\0\0\0[]"])
def test_garbage_is_refused(content: bytes) -> None:
    with pytest.raises(UserError, match=r"^here/index: no index of a crop cache: ") as caught:
        CacheIndex.from_bytes(content, source="here/index")
    assert "\n" not in str(caught.value)


def _changed(*, without: str | None = None, **header: Any) -> bytes:
    """An index with another header, or without an array."""
    content = _index("shard-00000.tar").to_bytes()
    arrays = safetensors.numpy.load(content)
    if without is not None:
        del arrays[without]
    length = int.from_bytes(content[:8], "little")
    old = msgspec.json.decode(content[8 : 8 + length])["__metadata__"]["description"]
    description = msgspec.json.encode(msgspec.json.decode(old) | header).decode()
    return safetensors.numpy.save(arrays, metadata={"description": description})


def test_another_version_is_refused() -> None:
    message = r"x: no index .* reads \(cpn-crops-1, found 'cpn-crops-2'\); make the cache again"
    with pytest.raises(UserError, match=message):
        CacheIndex.from_bytes(_changed(format="cpn-crops-2"), source="x")


@pytest.mark.parametrize("name", ["corners", "checksum"])
def test_missing_arrays_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"^x: a damaged index of a crop cache; make or copy it"):
        CacheIndex.from_bytes(_changed(without=name), source="x")


@pytest.mark.parametrize(
    "changes",
    [
        {"offset": np.arange(3)},
        {"corners": np.zeros((4, 2), np.int64)},
        {"halvings": np.zeros(4, np.int32)},
        {"shard": np.array([0, 0, 1, 2])},
        {"shard": np.array([0, 0, 1, -1])},
        {"offset": np.array([512, 512, 512, -1])},
        {"length": np.array([100, 100, 100, 0])},
        {"length": np.array([100, 100, 100, 2**62])},
        {"halvings": np.array([0, 0, 0, -1])},
        {"corners": np.array([[0, 0, 1, 1]] * 3 + [[0, 0, 0, 1]])},
        {"shards": [Shard("shard-00000.tar", 1000, "ab" * 32)] * 2},
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(changes: dict[str, Any]) -> None:
    content = dataclasses.replace(
        _index("shard-00000.tar", "shard-00001.tar"), **changes
    ).to_bytes()
    with pytest.raises(UserError, match=r"^x: a damaged index of a crop cache; make or copy it"):
        CacheIndex.from_bytes(content, source="x")


@pytest.mark.parametrize(
    "name",
    [
        "../x.tar",
        "/etc/shard-00000.tar",
        "../shard-00000.tar",
        "shard-00000.tar/..",
        "shard-0.tar",
        "shard-00000.tar\n",
    ],
)
def test_shards_stay_in_their_folder(name: str) -> None:
    message = r"x: no index of a crop cache: .*`\$\.shards\[0\]\[0\]`"
    with pytest.raises(UserError, match=message):
        CacheIndex.from_bytes(_changed(shards=[[name, 1000, "ab"]]), source="x")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"encoding": "webp"}, r"Invalid enum value 'webp' - at `\$\.encoding`"),
        ({"shards": [["shard-00000.tar", 0, "ab"]]}, r">= 1 - at `\$\.shards\[0\]\[1\]`"),
    ],
)
def test_values_out_of_range_are_refused(header: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"x: no index of a crop cache: .*{message}"):
        CacheIndex.from_bytes(_changed(**header), source="x")


def test_a_file_of_other_tensors_is_refused() -> None:
    content = safetensors.numpy.save({"weight": np.zeros(3)})
    with pytest.raises(UserError, match=r"x: no index of a crop cache that .* found ''\)"):
        CacheIndex.from_bytes(content, source="x")
