import io
import logging
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from filelock import FileLock

from cpn.data.crop_cache import CacheSummary, write_cache
from cpn.data.crop_cache.writer import LOCK_NAME
from cpn.data.image_files import read_image
from cpn.data.persons import PersonInstances
from cpn.data.transforms import PersonCrop
from cpn.errors import UserError
from tests.conftest import TinyCoco
from tests.data.crop_cache.cases import files_of, index_of, persons_at, settings, transform_of

SHARDS = [f"shard-{number:05d}.tar" for number in range(3)]
OTHER = r"cache: holds the crop cache of other annotations, another crop rule or other settings"


def _crop() -> PersonCrop:
    return transform_of().crop


def _write(folder: Path, persons: PersonInstances, **changes: Any) -> CacheSummary:
    return write_cache(folder, persons, _crop(), settings(**changes))


def _times(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_mtime_ns for name in SHARDS}


def _age(folder: Path) -> dict[str, int]:
    """Makes the files old, so that a newer one shows, and tells their times."""
    for path in folder.glob("shard-*.tar"):
        os.utime(path, ns=(10**9, 10**9))
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("shard-*.tar")}


def test_a_cache_is_its_shards_and_its_index(crowd: PersonInstances, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "cache"
    summary = _write(folder, crowd)
    assert sorted(files_of(folder)) == ["index.safetensors", *SHARDS]
    sizes = [(folder / name).stat().st_size for name in SHARDS]
    assert summary == CacheSummary(shards=3, made=3, size=sum(sizes))
    index = index_of(folder)
    assert [(shard.name, shard.size) for shard in index.shards] == list(
        zip(SHARDS, sizes, strict=True)
    )
    assert index.annotation_ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert index.shard.tolist() == [0, 0, 1, 1, 2, 2]
    assert (index.encoding, index.rule) == ("raw", settings().rule)


@pytest.mark.parametrize(("encoding", "suffix"), [("raw", "ppm"), ("jpeg", "jpg")])
def test_every_tool_reads_the_shards(tmp_path: Path, encoding: str, suffix: str) -> None:
    """Here the tar and image readers of Python and OpenCV."""
    y, x = np.mgrid[:200, :300]
    photo = np.stack([x // 2, y, (x + y) // 3], axis=-1).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    # 37.5 x 50 around (115, 85) and 150 x 200 around (150, 100), which is halved once.
    boxes = [[100, 65, 30, 40], [90, 20, 120, 160]]
    persons = persons_at(boxes, (300, 200), folder=tmp_path)
    plain: dict[str, Any] = {
        "scale_range": (1.0, 1.0),
        "rotation_degrees": 0.0,
        "half_body_probability": 0.0,
    }
    folder = tmp_path / "cache"
    write_cache(folder, persons, transform_of(**plain).crop, settings(encoding=encoding))
    content, index = (folder / SHARDS[0]).read_bytes(), index_of(folder)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        members = tar.getmembers()
        files = [tar.extractfile(member) for member in members]
        pieces = [file.read() for file in files if file is not None]
    assert [member.name for member in members] == [f"{n:012d}.{suffix}" for n in (1, 2)]
    places = zip(index.offset.tolist(), index.length.tolist(), strict=True)
    assert [content[start : start + length] for start, length in places] == pieces
    first, second = (
        np.asarray(cv2.imdecode(np.frombuffer(piece, np.uint8), cv2.IMREAD_COLOR))
        for piece in pieces
    )
    assert index.corners.tolist() == [[80, 48, 144, 128], [48, 0, 256, 200]]
    assert index.halvings.tolist() == [0, 1]
    tolerance = 0 if encoding == "raw" else 4
    np.testing.assert_allclose(first, photo[48:128, 80:144], atol=tolerance)
    part = photo[0:200, 48:256].reshape(100, 2, 104, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(second, part, atol=tolerance + 0.5)


def test_the_people_of_a_photo_follow_each_other(crowd: PersonInstances, tmp_path: Path) -> None:
    _write(tmp_path / "cache", crowd.take([5, 0, 3, 1, 4, 2]))
    assert index_of(tmp_path / "cache").annotation_ids.tolist() == [1, 2, 4, 3, 6, 5]


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_the_same_people_give_the_same_bytes(
    crowd: PersonInstances, tmp_path: Path, encoding: str
) -> None:
    for name in ("first", "second"):
        _write(tmp_path / name, crowd, encoding=encoding)
    assert files_of(tmp_path / "first") == files_of(tmp_path / "second")


def test_processes_change_nothing(crowd: PersonInstances, tmp_path: Path) -> None:
    _write(tmp_path / "alone", crowd)
    summary = write_cache(tmp_path / "many", crowd, _crop(), settings(), workers=2)
    assert summary.made == 3
    assert files_of(tmp_path / "alone") == files_of(tmp_path / "many")


class _Dying(ThreadPoolExecutor):
    """A pool whose process the system has killed."""

    def map(self, *_: Any, **__: Any) -> Any:
        raise BrokenProcessPool


def test_a_killed_process_is_explained(
    crowd: PersonInstances, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cpn.data.crop_cache.writer.process_pool", _Dying)
    with pytest.raises(UserError, match=r"was killed, probably .* fewer data\.workers or people_"):
        write_cache(tmp_path / "cache", crowd, _crop(), settings(), workers=1)


@pytest.mark.parametrize("workers", [0, 1])
def test_what_was_stopped_is_taken_up_again(
    crowd: PersonInstances,
    tiny_coco: TinyCoco,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
) -> None:
    # Instead of processes, which take seconds to start.
    monkeypatch.setattr("cpn.data.crop_cache.writer.process_pool", ThreadPoolExecutor)
    folder, photo = tmp_path / "cache", tiny_coco.images / "003.png"
    content = photo.read_bytes()
    photo.write_bytes(b"no image")
    with pytest.raises(UserError, match=r"003\.png: not a readable image"):
        write_cache(folder, crowd, _crop(), settings(), workers=workers)
    assert not (folder / "index.safetensors").exists()
    before = _age(folder)
    assert SHARDS[0] in before
    assert SHARDS[1] not in before
    photo.write_bytes(content)
    with caplog.at_level(logging.INFO):
        summary = _write(folder, crowd)
    assert summary.made == 3 - len(before)
    assert f"{len(before)} of 3 shards are there" in caplog.text
    assert {name: _times(folder)[name] for name in before} == before
    _write(tmp_path / "whole", crowd)
    assert files_of(folder) == files_of(tmp_path / "whole")


def test_a_shard_without_its_part_of_the_index_is_made_again(
    crowd: PersonInstances, tmp_path: Path
) -> None:
    """The process died between the two."""
    folder = tmp_path / "cache"
    _write(tmp_path / "whole", crowd)
    folder.mkdir()
    (folder / SHARDS[0]).write_bytes((tmp_path / "whole" / SHARDS[0]).read_bytes())
    (folder / SHARDS[1]).write_bytes(b"cut off")
    assert _write(folder, crowd).made == 3
    assert files_of(folder) == files_of(tmp_path / "whole")


@pytest.mark.parametrize("damage", ["deleted", "flipped", "cut off"])
def test_a_damaged_shard_alone_is_made_again(
    crowd: PersonInstances, tmp_path: Path, damage: str
) -> None:
    folder = tmp_path / "cache"
    _write(folder, crowd)
    whole, path = files_of(folder), folder / SHARDS[1]
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content[:-1] if damage == "cut off" else content)
    if damage == "deleted":
        path.unlink()
    before = _age(folder)
    assert _write(folder, crowd).made == 1
    assert files_of(folder) == whole
    changed = {name for name, time in _times(folder).items() if time != before.get(name)}
    assert changed == {SHARDS[1]}


def test_a_complete_cache_is_left_alone(crowd: PersonInstances, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    size = _write(folder, crowd).size
    before = _age(folder)
    assert _write(folder, crowd) == CacheSummary(shards=3, made=0, size=size)
    assert _times(folder) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"encoding": "jpeg"},
        {"people_per_shard": 1},
        {"people_per_shard": 3},
        {"rule": {"input.height": 32}},
    ],
)
@pytest.mark.parametrize("complete", [True, False])
def test_a_cache_of_other_settings_is_refused(
    crowd: PersonInstances,
    tiny_coco: TinyCoco,
    tmp_path: Path,
    changes: dict[str, Any],
    complete: bool,
) -> None:
    if not complete:
        content = (tiny_coco.images / "004.png").read_bytes()
        (tiny_coco.images / "004.png").write_bytes(b"no image")
        with pytest.raises(UserError, match="not a readable image"):
            _write(tmp_path / "cache", crowd)
        (tiny_coco.images / "004.png").write_bytes(content)
    else:
        _write(tmp_path / "cache", crowd)
    before = files_of(tmp_path / "cache")
    with pytest.raises(UserError, match=OTHER):
        _write(tmp_path / "cache", crowd, **changes)
    assert files_of(tmp_path / "cache") == before


def test_a_cache_of_another_jpeg_quality_is_refused(crowd: PersonInstances, tmp_path: Path) -> None:
    _write(tmp_path / "cache", crowd, encoding="jpeg", jpeg_quality=95)
    with pytest.raises(UserError, match=OTHER):
        _write(tmp_path / "cache", crowd, encoding="jpeg", jpeg_quality=60)


def _moved(persons: PersonInstances) -> PersonInstances:
    """Nobody stands where a piece of it was cut out."""
    return replace(persons, image_sizes_hw=persons.image_sizes_hw - 1)


def _renamed(persons: PersonInstances) -> PersonInstances:
    return replace(persons, file_names=np.array([b"x.png"] * len(persons)))


def _numbered(persons: PersonInstances) -> PersonInstances:
    return replace(persons, annotation_ids=persons.annotation_ids + 1)


@pytest.mark.parametrize("change", [_moved, _renamed, _numbered, lambda persons: persons[:4]])
def test_a_cache_of_other_people_is_refused(
    crowd: PersonInstances, tmp_path: Path, change: Any
) -> None:
    _write(tmp_path / "cache", crowd)
    before = files_of(tmp_path / "cache")
    with pytest.raises(UserError, match=OTHER):
        _write(tmp_path / "cache", change(crowd))
    assert files_of(tmp_path / "cache") == before


def test_two_cannot_write_at_a_time(crowd: PersonInstances, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    with FileLock(folder / LOCK_NAME):
        with pytest.raises(UserError, match=r"cache: another process is writing this crop cache"):
            _write(folder, crowd)
        assert not files_of(folder)
    assert _write(folder, crowd).made == 3


def test_what_a_dead_process_left_is_removed(crowd: PersonInstances, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    names = (SHARDS[0], "shard-00001.index.safetensors", "index.safetensors")
    for name in names:
        (folder / f".{name}.123456.tmp").write_bytes(b"half")
    (folder / "notes.txt").write_text("mine")
    _write(folder, crowd)
    assert sorted(files_of(folder)) == ["index.safetensors", "notes.txt", *SHARDS]


def test_a_photo_is_decoded_once(
    crowd: PersonInstances, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []

    def read(person: Any) -> Any:
        decoded.append(person.image_path.name)
        return read_image(person.image_path)

    monkeypatch.setattr("cpn.data.crop_cache.writer.read_annotated_image", read)
    _write(tmp_path / "cache", crowd)
    assert decoded == ["001.png", "002.png", "003.png", "004.png"]
