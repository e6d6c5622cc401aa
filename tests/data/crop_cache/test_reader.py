from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from cpn.data.annotations import PersonAnnotations
from cpn.data.crop_cache import CropCache, open_cache, write_cache
from cpn.data.persons import PersonInstances
from cpn.data.pose_dataset import PoseDataset
from cpn.data.sample import PoseSample
from cpn.data.transforms import PersonTransform
from cpn.errors import UserError
from cpn.geometry.crop import Placement
from tests.data.crop_cache.cases import (
    files_of,
    index_of,
    persons_at,
    rule,
    settings,
    transform_of,
)

LargePeople = Callable[[str], PersonAnnotations]
DRAWS = 12


def _open(
    folder: Path, persons: PersonInstances, transform: PersonTransform | None = None, **rules: Any
) -> CropCache:
    crop = (transform or transform_of()).crop
    return open_cache(str(folder), persons, crop, rule=rule(**rules))


def _pairs(
    persons: PersonInstances, transform: PersonTransform, cache: CropCache
) -> list[tuple[PoseSample, PoseSample]]:
    """Samples from the cache, and from the photos, over several draws."""
    cached = PoseDataset(persons, transform, seed=1, images=cache)
    photos = PoseDataset(persons, transform, seed=1)
    keys = [(draw, person) for draw in range(DRAWS) for person in range(len(persons))]
    return [(cached[key], photos[key]) for key in keys]


def _assert_same(found: PoseSample, expected: PoseSample, *, levels: float) -> None:
    np.testing.assert_array_equal(found.points, expected.points)
    np.testing.assert_array_equal(found.visibility, expected.visibility)
    np.testing.assert_array_equal(found.image_to_crop, expected.image_to_crop)
    np.testing.assert_array_equal(found.colour, expected.colour)
    assert (found.instance_id, found.image_id) == (expected.instance_id, expected.image_id)
    assert found.crop.any()
    np.testing.assert_allclose(found.crop.astype(int), expected.crop.astype(int), atol=levels)


@pytest.mark.parametrize(
    ("suffix", "changes"),
    [
        (".png", {}),
        (".jpg", {}),
        (".jpg", {"half_body_probability": 1.0, "half_body_min_keypoints": 3}),
        (".jpg", {"flip_probability": 1.0, "rotation_degrees": 180.0}),
        (".jpg", {"scale_range": (0.3, 3.0), "blur_probability": 0.5}),
        (".jpg", {"rotation_probability": 0.0, "half_body_probability": 0.0}),
    ],
)
def test_samples_are_those_of_the_photos(
    large_people: LargePeople, tmp_path: Path, suffix: str, changes: dict[str, Any]
) -> None:
    people = large_people(suffix)
    transform = transform_of(people.skeleton, **changes)
    write_cache(tmp_path / "cache", people.instances, transform.crop, settings())
    cache = _open(tmp_path / "cache", people.instances, transform)
    for found, expected in _pairs(people.instances, transform, cache):
        _assert_same(found, expected, levels=1)


def _read(cache: CropCache, person: int) -> tuple[npt.NDArray[np.uint8], Placement]:
    """The cache knows its people by their positions."""
    somebody: Any = SimpleNamespace(index=person)
    return cache.read(somebody)


def test_large_photos_are_halved_and_small_people_cut_out(
    large_people: LargePeople, tmp_path: Path
) -> None:
    """What the test above covers; the photo is 1203 x 901."""
    people, transform = large_people(".png").instances, transform_of(half_body_probability=0.0)
    write_cache(tmp_path / "cache", people, transform.crop, settings())
    cache = _open(tmp_path / "cache", people, transform)
    placed = [_read(cache, person) for person in range(3)]
    assert [tuple(placement) for _, placement in placed] == [(0, 0, 3), (0, 0, 1), (944, 608, 1)]
    shapes = [pixels.shape for pixels, _ in placed]
    assert shapes == [(112, 150, 4), (144, 136, 4), (146, 129, 4)]
    assert cache.shard_numbers.tolist() == [0, 0, 1]


def test_jpeg_pieces_lose_little(large_people: LargePeople, tmp_path: Path) -> None:
    people = large_people(".jpg")
    transform = transform_of(people.skeleton)
    write_cache(tmp_path / "cache", people.instances, transform.crop, settings(encoding="jpeg"))
    cache = _open(tmp_path / "cache", people.instances, transform)
    for found, expected in _pairs(people.instances, transform, cache):
        _assert_same(found, expected, levels=20)
        difference = found.crop.astype(float) - expected.crop
        assert np.sqrt((difference**2).mean()) < 1.5


@pytest.mark.parametrize(
    "narrower",
    [
        {"scale_range": (0.9, 1.1)},
        {"rotation_degrees": 20.0},
        {"rotation_probability": 0.0, "half_body_probability": 0.0},
        {"half_body_min_keypoints": 12},
        {"input_hw": (32, 24)},
        {"input_hw": (32, 24), "scale_range": (0.9, 1.1)},
    ],
)
def test_a_cache_serves_narrower_rules(
    large_people: LargePeople, tmp_path: Path, narrower: dict[str, Any]
) -> None:
    people = large_people(".jpg")
    write_cache(tmp_path / "cache", people.instances, transform_of().crop, settings())
    transform = transform_of(people.skeleton, **narrower)
    cache = _open(tmp_path / "cache", people.instances, transform)
    for found, expected in _pairs(people.instances, transform, cache):
        _assert_same(found, expected, levels=1)


def test_a_smaller_crop_is_served_for_people_of_any_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    corners, extents = rng.uniform(0, (400, 300), (50, 2)), rng.uniform(20, (240, 180), (50, 2))
    persons = persons_at(np.hstack([corners, extents]), (640, 480), folder=tmp_path)
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((480, 640, 3), np.uint8))
    cache, whole = tmp_path / "cache", transform_of(input_hw=(256, 192))
    write_cache(cache, persons, whole.crop, settings())
    for input_hw in ((128, 96), (64, 48)):
        _open(cache, persons, transform_of(input_hw=input_hw), **{"input.height": input_hw[0]})


@pytest.mark.parametrize("share", [1, 2, 4])
def test_smaller_crops_are_those_of_a_noisy_photo(tmp_path: Path, share: int) -> None:
    """Noise shows where halving mixed other pixels; the photo is large enough for five halvings."""
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (1501, 2003, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), noise)
    corners, extents = rng.uniform(0, (1600, 1200), (12, 2)), rng.uniform(60, (900, 900), (12, 2))
    persons = persons_at(np.hstack([corners, extents]), (2003, 1501), folder=tmp_path)
    write_cache(tmp_path / "cache", persons, transform_of(input_hw=(64, 48)).crop, settings())
    transform = transform_of(input_hw=(64 // share, 48 // share))
    cache = _open(tmp_path / "cache", persons, transform)
    for found, expected in _pairs(persons, transform, cache):
        _assert_same(found, expected, levels=1)


def test_a_cache_serves_some_of_its_people_in_any_order(
    large_people: LargePeople, tmp_path: Path
) -> None:
    people = large_people(".jpg")
    transform = transform_of(people.skeleton)
    write_cache(tmp_path / "cache", people.instances, transform.crop, settings())
    some = people.instances.take([2, 0])
    cache = _open(tmp_path / "cache", some, transform)
    assert cache.shard_numbers.tolist() == [1, 0]
    for found, expected in _pairs(some, transform, cache):
        _assert_same(found, expected, levels=1)


@pytest.mark.parametrize("x", [-900, 1900])
@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_a_person_beside_the_photo_is_black(tmp_path: Path, x: int, encoding: str) -> None:
    """The box of 300 x 400 is halved; the photo is not as wide as to reach into it."""
    cv2.imwrite(str(tmp_path / "photo.png"), np.full((100, 1025, 3), 200, np.uint8))
    persons = persons_at([x, 0, 300, 400], (1025, 100), folder=tmp_path)
    transform = transform_of()
    write_cache(tmp_path / "cache", persons, transform.crop, settings(encoding=encoding))
    cache = _open(tmp_path / "cache", persons, transform)
    for found, expected in _pairs(persons, transform, cache):
        assert not expected.crop.any()
        assert not found.crop.any()


def test_the_photos_are_not_needed(crowd: PersonInstances, tmp_path: Path) -> None:
    write_cache(tmp_path / "cache", crowd, transform_of().crop, settings())
    gone = replace(crowd, image_folder=tmp_path / "gone")
    cache = _open(tmp_path / "cache", gone)
    assert PoseDataset(gone, transform_of(), images=cache)[0, 0].crop.any()


def test_no_cache_is_told(crowd: PersonInstances, tmp_path: Path) -> None:
    message = (
        r"^data\.cache=.*/cache: no crop cache, there is no such folder; "
        r"python scripts/prepare_data\.py out=.*/cache with this run's other options makes it$"
    )
    with pytest.raises(UserError, match=message):
        _open(tmp_path / "cache", crowd)


def test_an_unfinished_cache_is_told(crowd: PersonInstances, tmp_path: Path) -> None:
    (crowd.image_folder / "003.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="not a readable image"):
        write_cache(tmp_path / "cache", crowd, transform_of().crop, settings())
    with pytest.raises(UserError, match=r"no crop cache, it is not finished \(1 shards so far\)"):
        _open(tmp_path / "cache", crowd)


@pytest.fixture
def cache_of_five(crowd: PersonInstances, tmp_path: Path) -> Path:
    """In three shards; the last has one person, annotation 5."""
    write_cache(tmp_path / "cache", crowd[:5], transform_of().crop, settings())
    return tmp_path / "cache"


def test_a_missing_person_is_named(cache_of_five: Path, crowd: PersonInstances) -> None:
    message = (
        r"cache lacks 1 annotation \(id 6\) of 6: it belongs to another annotation file, or .*out="
    )
    with pytest.raises(UserError, match=message):
        _open(cache_of_five, crowd)
    crowd.annotation_ids[0] = 0  # before all that there are
    with pytest.raises(UserError, match=r"cache lacks 2 annotations \(ids 0, 6\) of 6: "):
        _open(cache_of_five, crowd)


def test_other_photos_are_refused(cache_of_five: Path, crowd: PersonInstances) -> None:
    persons = crowd[:5]
    persons.file_names[3] = b"005.png"
    message = r"made of other photos than those of 1 annotation \(id 4\) of 5: it belongs to"
    with pytest.raises(UserError, match=message):
        _open(cache_of_five, persons)


@pytest.mark.parametrize("scale_range", [(0.3, 1.35), (0.7, 2.0)])
def test_wider_rules_are_refused(
    large_people: LargePeople, tmp_path: Path, scale_range: tuple[float, float]
) -> None:
    """Too little detail of the large person, too small parts for the others."""
    people = large_people(".jpg").instances
    write_cache(tmp_path / "cache", people, transform_of().crop, settings())
    wanted = list(scale_range)
    message = (
        rf"cache holds too little of the photos of \d annotations? \(ids? .*\) of 3: this run crops"
        rf" with augment\.scale_range \[{wanted[0]}, {wanted[1]}\], not \[0\.7, 1\.35\]; python "
    )
    with pytest.raises(UserError, match=message):
        _open(
            tmp_path / "cache",
            people,
            transform_of(scale_range=scale_range),
            **{"augment.scale_range": wanted},
        )


def test_a_larger_crop_is_refused_with_every_key(large_people: LargePeople, tmp_path: Path) -> None:
    people = large_people(".jpg").instances
    write_cache(tmp_path / "cache", people, transform_of().crop, settings())
    changes = {"input.height": 256, "input.margin": 1.25}
    message = r"of 3: this run crops with input\.height 256, not 64; input\.margin 1\.25, not None;"
    with pytest.raises(UserError, match=message):
        _open(tmp_path / "cache", people, transform_of(input_hw=(256, 192)), **changes)


def test_changed_boxes_are_told(large_people: LargePeople, tmp_path: Path) -> None:
    people = large_people(".jpg").instances
    write_cache(tmp_path / "cache", people, transform_of().crop, settings())
    people.boxes_xywh[1, 2:] *= 2
    message = r"1 annotation \(id 2\) of 3: their boxes or keypoints have changed since it was made"
    with pytest.raises(UserError, match=message):
        _open(tmp_path / "cache", people)


@pytest.mark.parametrize(("size", "state"), [(None, "missing"), (5000, "cut off or changed")])
def test_an_incomplete_shard_is_named(
    cache_of_five: Path, crowd: PersonInstances, size: int | None, state: str
) -> None:
    path = cache_of_five / "shard-00001.tar"
    content = path.read_bytes()
    path.unlink()
    if size is not None:
        path.write_bytes(content[:size])
    message = rf"shard-00001\.tar: this shard of the crop cache is {state}; .* mends it"
    with pytest.raises(UserError, match=message):
        _open(cache_of_five, crowd[:5])


def test_a_damaged_piece_is_named(cache_of_five: Path, crowd: PersonInstances) -> None:
    cache, index = _open(cache_of_five, crowd[:5]), index_of(cache_of_five)
    path = cache_of_five / "shard-00001.tar"
    content = bytearray(path.read_bytes())
    content[int(index.offset[3] + index.length[3] - 1)] ^= 1  # a pixel of annotation 4
    path.write_bytes(content)
    _read(cache, 2)
    message = (
        r"shard-00001\.tar: the piece of annotation 4 is damaged \(its checksum differs\); "
        r"python scripts/prepare_data\.py as it was called makes damaged shards again"
    )
    with pytest.raises(UserError, match=message):
        _read(cache, 3)


def test_a_shard_that_goes_while_it_is_used_is_named(
    cache_of_five: Path, crowd: PersonInstances
) -> None:
    cache, path = _open(cache_of_five, crowd[:5]), cache_of_five / "shard-00002.tar"
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(UserError, match=r"shard-00002\.tar: the piece of annotation 5 is damaged"):
        _read(cache, 4)
    path.unlink()
    message = r"^cannot read the crop cache: .*/shard-00002\.tar: No such file or directory$"
    with pytest.raises(UserError, match=message):
        _read(cache, 4)


def test_a_damaged_index_is_named(cache_of_five: Path, crowd: PersonInstances) -> None:
    (cache_of_five / "index.safetensors").write_bytes(b"no index")
    with pytest.raises(UserError, match=r"/index\.safetensors: no index of a crop cache: "):
        _open(cache_of_five, crowd[:5])


def test_reading_changes_nothing(cache_of_five: Path, crowd: PersonInstances) -> None:
    before = files_of(cache_of_five)
    cache = _open(cache_of_five, crowd[:5])
    for person in range(5):
        _read(cache, person)
    assert files_of(cache_of_five) == before
