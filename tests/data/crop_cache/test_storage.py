import hashlib
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from filelock import FileLock, Timeout
from fsspec.implementations.memory import MemoryFileSystem

from cpn.data.crop_cache import (
    LocalCopies,
    LocalShards,
    RemoteShards,
    Shard,
    open_cache,
    storage,
    write_cache,
)
from cpn.data.epoch_batches import ShardWindow
from cpn.data.loaders import PoseLoader, train_loader
from cpn.data.persons import PersonInstances
from cpn.data.pose_dataset import PoseDataset
from cpn.data.sample import PoseBatch
from cpn.errors import UserError
from cpn.files.remote import is_remote
from tests.data.crop_cache.cases import rule, settings, transform_of

SIZE = 1000
NAMES = [f"shard-{number:05d}.tar" for number in range(5)]
CONTENTS = [np.random.default_rng(number).bytes(SIZE) for number in range(5)]
SHARDS = [
    Shard(name, SIZE, hashlib.sha256(content).hexdigest())
    for name, content in zip(NAMES, CONTENTS, strict=True)
]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "SECONDS_BETWEEN_TRIES", 0.0)


@pytest.fixture
def bucket() -> Iterator[str]:
    """Five shards of a thousand bytes in fsspec's memory."""
    address = "memory://bucket/crops"
    for name, content in zip(NAMES, CONTENTS, strict=True):
        with fsspec.open(f"{address}/{name}", "wb") as file:
            file.write(content)
    yield address
    fsspec.filesystem("memory").rm("/bucket", recursive=True)


def _remote(address: str, folder: Path, *, fit: float = 3, window: int | None = 1) -> RemoteShards:
    """With room for so many of the shards."""
    copies = LocalCopies(folder / "copies", fit * SIZE / 2**30, window)
    return RemoteShards(address, SHARDS, copies, people=50, name="cache", version="new")


def _copies(folder: Path) -> dict[str, Path]:
    """The finished and unfinished copies, without locks."""
    found = (folder / "copies" / "cache").iterdir()
    return {path.name.removeprefix("new."): path for path in found if path.suffix != ".lock"}


def test_an_address_is_no_folder() -> None:
    assert is_remote("s3://bucket/crops")
    assert is_remote("file:///data/crops")
    assert not is_remote("/data/crops")
    assert not is_remote("data:/crops")


def test_remote_reads_equal_local_ones(bucket: str, tmp_path: Path) -> None:
    for name, content in zip(NAMES, CONTENTS, strict=True):
        (tmp_path / name).write_bytes(content)
    local, remote = LocalShards(tmp_path), _remote(f"{bucket}/", tmp_path, fit=5, window=None)
    for offset, length in ((0, SIZE), (512, 100), (900, 500), (SIZE, 1)):
        for shard, content in zip(SHARDS, CONTENTS, strict=True):
            expected = content[offset : offset + length]
            assert remote.read(shard, offset, length) == expected
            assert local.read(shard, offset, length) == expected
    assert remote.where(SHARDS[1]) == "memory://bucket/crops/shard-00001.tar"
    assert local.where(SHARDS[1]) == str(tmp_path / "shard-00001.tar")
    assert sorted(_copies(tmp_path)) == NAMES


def test_a_copy_is_made_once(bucket: str, tmp_path: Path) -> None:
    remote = _remote(bucket, tmp_path)
    assert remote.read(SHARDS[0], 0, 10) == CONTENTS[0][:10]
    fsspec.filesystem("memory").rm("/bucket/crops/shard-00000.tar")
    assert _remote(bucket, tmp_path).read(SHARDS[0], 10, 10) == CONTENTS[0][10:20]


def test_copies_stay_within_the_limit(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while one is being made."""
    get_file, used = MemoryFileSystem.get_file, []

    def get(self: MemoryFileSystem, source: str, target: str, *rest: Any) -> None:
        finished = [path for name, path in _copies(tmp_path).items() if name.endswith(".tar")]
        used.append(SIZE + sum(path.stat().st_size for path in finished))
        get_file(self, source, target, *rest)

    monkeypatch.setattr(MemoryFileSystem, "get_file", get)
    remote = _remote(bucket, tmp_path, fit=3.5)
    for number in (0, 1, 2, 3, 4, 0, 1, 2, 4):
        assert remote.read(SHARDS[number], 0, SIZE) == CONTENTS[number]
    assert max(used) == 3 * SIZE
    assert len(_copies(tmp_path)) == 3


def test_the_longest_unused_copy_goes(bucket: str, tmp_path: Path) -> None:
    remote = _remote(bucket, tmp_path)
    for number in (0, 1, 2):
        remote.read(SHARDS[number], 0, 1)
    for age, name in enumerate((NAMES[0], NAMES[2], NAMES[1])):
        os.utime(_copies(tmp_path)[name], ns=(age, age))
    remote.read(SHARDS[0], 0, 1)
    remote.read(SHARDS[3], 0, 1)
    assert sorted(_copies(tmp_path)) == [NAMES[0], NAMES[1], NAMES[3]]
    remote.read(SHARDS[4], 0, 1)
    assert sorted(_copies(tmp_path)) == [NAMES[0], NAMES[3], NAMES[4]]


def test_files_of_others_are_spared(bucket: str, tmp_path: Path) -> None:
    remote = _remote(bucket, tmp_path)
    kept = [
        tmp_path / "copies" / "cache" / "notes.txt",
        tmp_path / "copies" / "b" / f"new.{NAMES[0]}",
    ]
    for path in kept:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 9000)
    for shard in SHARDS:
        remote.read(shard, 0, 1)
    assert all(path.exists() for path in kept)


def test_copies_of_an_earlier_version_go(bucket: str, tmp_path: Path) -> None:
    """They count, and are deleted like others; what a dead process left of one at once."""
    remote, folder = _remote(bucket, tmp_path), tmp_path / "copies" / "cache"
    for age, name in enumerate(("older.shard-00007.tar", "old.shard-00000.tar")):
        (folder / name).write_bytes(b"x" * SIZE)
        os.utime(folder / name, ns=(age, age))
    (folder / "old.shard-00001.tar.part").write_bytes(b"half")
    remote.read(SHARDS[0], 0, 1)
    assert sorted(_copies(tmp_path)) == ["old.shard-00000.tar", "older.shard-00007.tar", NAMES[0]]
    remote.read(SHARDS[1], 0, 1)
    assert sorted(_copies(tmp_path)) == ["old.shard-00000.tar", NAMES[0], NAMES[1]]
    remote.read(SHARDS[2], 0, 1)
    assert sorted(_copies(tmp_path)) == NAMES[:3]


@pytest.mark.parametrize("content", [CONTENTS[1], CONTENTS[0][:-1], b""])
def test_another_shard_is_refused_and_not_kept(bucket: str, tmp_path: Path, content: bytes) -> None:
    with fsspec.open(f"{bucket}/{NAMES[0]}", "wb") as file:
        file.write(content)
    remote = _remote(bucket, tmp_path)
    message = (
        r"^memory://bucket/crops/shard-00000\.tar: the shard is not the one that the index "
        r"describes \(SHA-256 differs\); copy the cache there again"
    )
    with pytest.raises(UserError, match=message):
        remote.read(SHARDS[0], 0, 10)
    assert not _copies(tmp_path)


def test_a_missing_shard_is_named(bucket: str, tmp_path: Path) -> None:
    fsspec.filesystem("memory").rm("/bucket/crops/shard-00002.tar")
    remote = _remote(bucket, tmp_path)
    with pytest.raises(UserError, match=r"^memory://bucket/crops/shard-00002\.tar: cannot be read"):
        remote.read(SHARDS[2], 0, 10)
    assert NAMES[2] not in _copies(tmp_path)
    for number in (0, 1, 3, 4):
        assert remote.read(SHARDS[number], 0, SIZE) == CONTENTS[number]


@pytest.mark.parametrize(
    ("fit", "window", "message"),
    [
        (
            4.9,
            None,
            r"too little for 5 of the 5 shards of .*: set data\.cache_window to 3 or less, ",
        ),
        (2.9, 2, r"3 of the 5 shards of .*_window to 1 or less, or .*_gib to at least 2\.8e-06$"),
        (1.9, 1, r"2 of the 5 shards of .* run ahead: set data\.cache_gib to at least 1\.87e-06$"),
    ],
)
def test_too_little_room_is_refused(
    tmp_path: Path, fit: float, window: int | None, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        _remote("memory://bucket/crops", tmp_path, fit=fit, window=window)
    assert f"data.cache_gib={fit * SIZE / 2**30:g} is too little for " in str(caught.value)


def test_the_room_that_is_asked_for_suffices(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"at least 4\.66e-06$") as caught:
        _remote("memory://bucket/crops", tmp_path, fit=0.5, window=None)
    gib = float(str(caught.value).rpartition(" ")[2])
    RemoteShards(
        "memory://x", SHARDS, LocalCopies(tmp_path, gib), people=50, name="cache", version="new"
    )


def test_loaders_that_run_ahead_need_more_room(tmp_path: Path) -> None:
    """Ten people a shard: loaders that are 25 people apart may have begun three more."""
    for fit, enough in ((5, True), (4.9, False)):
        copies = LocalCopies(tmp_path, fit * SIZE / 2**30, 1, samples_ahead=25)
        if enough:
            RemoteShards("memory://x", SHARDS, copies, people=50, name="cache", version="new")
        else:
            with pytest.raises(UserError, match=r"5 of the 5 .*, 4 of them because loaders run"):
                RemoteShards("memory://x", SHARDS, copies, people=50, name="cache", version="new")


@pytest.mark.parametrize(("fit", "window"), [(5, None), (5, 9), (3, 2), (2, 1)])
def test_just_enough_room_will_do(tmp_path: Path, fit: float, window: int | None) -> None:
    _remote("memory://bucket/crops", tmp_path, fit=fit, window=window)


def test_the_largest_shards_must_fit(tmp_path: Path) -> None:
    shards = [Shard(NAMES[n], size, "ab") for n, size in enumerate((10, 900, 20, 700, 800))]
    for limit, fits in ((1700, True), (1699, False)):
        copies = LocalCopies(tmp_path, limit / 2**30, 1)
        if fits:
            RemoteShards("memory://x", shards, copies, people=50, name="cache", version="new")
        else:
            with pytest.raises(UserError, match="too little for 2 of the 5 shards"):
                RemoteShards("memory://x", shards, copies, people=50, name="cache", version="new")


def test_what_a_dead_process_left_is_removed(bucket: str, tmp_path: Path) -> None:
    remote = _remote(bucket, tmp_path)
    for name in NAMES[:4]:
        (tmp_path / "copies" / "cache" / f"new.{name}.part").write_bytes(b"half")
    assert remote.read(SHARDS[3], 0, SIZE) == CONTENTS[3]
    assert sorted(_copies(tmp_path)) == [NAMES[3]]


def test_what_another_process_is_making_counts_as_whole(bucket: str, tmp_path: Path) -> None:
    remote = _remote(bucket, tmp_path)
    for number in (0, 1):
        remote.read(SHARDS[number], 0, 1)
        os.utime(_copies(tmp_path)[NAMES[number]], ns=(number + 1, number + 1))
    part = tmp_path / "copies" / "cache" / f"new.{NAMES[2]}.part"
    part.touch()
    os.utime(part, ns=(0, 0))
    with FileLock(part.with_suffix(".lock")):
        remote.read(SHARDS[3], 0, 1)
        assert sorted(_copies(tmp_path)) == [NAMES[1], f"{NAMES[2]}.part", NAMES[3]]


def test_a_copy_gets_its_name_when_nobody_looks(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = _remote(bucket, tmp_path)
    rename, renamed = Path.replace, []

    def watched(path: Path, target: Path) -> Path:
        with pytest.raises(Timeout), FileLock(path.parent / "list.lock", timeout=0):
            pass
        renamed.append(target.name)
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", watched)
    assert remote.read(SHARDS[3], 0, SIZE) == CONTENTS[3]
    assert renamed == [f"new.{NAMES[3]}"]


def test_what_breaks_off_is_tried_again(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote, calls = _remote(bucket, tmp_path), []

    class Unlike(Exception):  # noqa: N818 - as some file systems raise, no OSError
        pass

    copy = MemoryFileSystem.get_file

    def broken(self: MemoryFileSystem, inner: str, local: str) -> None:
        calls.append(inner)
        if len(calls) < 3:
            raise Unlike("connection lost")
        copy(self, inner, local)

    monkeypatch.setattr(MemoryFileSystem, "get_file", broken)
    assert remote.read(SHARDS[0], 0, SIZE) == CONTENTS[0]
    calls.clear()
    monkeypatch.setattr(storage, "TRIES", 2)
    with pytest.raises(UserError, match=r"00001.tar: cannot be read: Unlike: connection lost$"):
        remote.read(SHARDS[1], 0, SIZE)
    assert len(calls) == 2


def test_a_missing_shard_leaves_nothing_behind(bucket: str, tmp_path: Path) -> None:
    remote = _remote(bucket, tmp_path)
    fsspec.filesystem("memory").rm("/bucket/crops/shard-00000.tar")
    with pytest.raises(UserError, match=r"crops/shard-00000.tar: cannot be read: "):
        remote.read(SHARDS[0], 0, 1)
    assert _copies(tmp_path) == {}


def test_a_forgotten_copy_is_made_anew(bucket: str, tmp_path: Path) -> None:
    remote = _remote(bucket, tmp_path)
    remote.read(SHARDS[0], 0, 1)
    _copies(tmp_path)[NAMES[0]].write_bytes(b"")  # as after a power cut
    assert remote.read(SHARDS[0], 0, 1) == b""
    assert remote.forget(SHARDS[0])
    assert remote.read(SHARDS[0], 0, SIZE) == CONTENTS[0]


def test_a_copy_may_be_made_while_one_waits_to_make_it(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then that one is read, and not made again."""
    remote = _remote(bucket, tmp_path)
    fsspec.filesystem("memory").rm("/bucket/crops/shard-00000.tar")

    def lock_of(unfinished: Path) -> Path:
        unfinished.with_suffix("").write_bytes(CONTENTS[0])
        return unfinished.with_suffix(".lock")

    monkeypatch.setattr(RemoteShards, "_lock_of", staticmethod(lock_of))
    assert remote.read(SHARDS[0], 5, 10) == CONTENTS[0][5:15]


def _read_many(address: str, folder: Path, seed: int, wrong: "SimpleQueue[Any]") -> None:
    """What a process does: random reads, each of which must be right."""
    remote, rng = _remote(address, folder), np.random.default_rng(seed)
    try:
        for number in rng.integers(len(SHARDS), size=100).tolist():
            if remote.read(SHARDS[number], 100, 300) != CONTENTS[number][100:400]:
                wrong.put(number)
    except Exception as error:
        wrong.put(repr(error))


def test_processes_share_few_copies(tmp_path: Path) -> None:
    for name, content in zip(NAMES, CONTENTS, strict=True):
        (tmp_path / name).write_bytes(content)
    context = multiprocessing.get_context("fork")
    wrong = context.SimpleQueue()
    processes = [
        context.Process(target=_read_many, args=(f"file://{tmp_path}", tmp_path, seed, wrong))
        for seed in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert wrong.empty(), wrong.get()
    assert [process.exitcode for process in processes] == [0, 0]
    copies = _copies(tmp_path)
    assert len(copies) <= 3
    for name, path in copies.items():
        assert path.read_bytes() == CONTENTS[NAMES.index(name)]


def _epoch(loader: PoseLoader) -> dict[int, PoseBatch]:
    """A person's batch of one, by annotation."""
    return {int(batch.instance_ids): batch for batch in loader.for_epoch(3)}


def test_a_loader_reads_through_an_address(crowd: PersonInstances, tmp_path: Path) -> None:
    """With workers, one shard a person, and room for half of them."""
    transform = transform_of()
    summary = write_cache(tmp_path / "cache", crowd, transform.crop, settings(people_per_shard=1))
    cache = open_cache(
        f"file://{tmp_path}/cache/",
        crowd,
        transform.crop,
        rule=rule(),
        copies=LocalCopies(tmp_path / "copies", summary.size / 2 / 2**30, 1),
    )
    dataset = PoseDataset(crowd, transform, seed=1, images=cache)
    window = ShardWindow(cache.shard_numbers, 1)
    found = _epoch(train_loader(dataset, global_batch=1, num_workers=2, window=window))
    photos = PoseDataset(crowd, transform, seed=1)
    expected = _epoch(train_loader(photos, global_batch=1))
    assert sorted(found) == sorted(expected) == [1, 2, 3, 4, 5, 6]
    for number, batch in expected.items():
        for field, wanted in zip(found[number], batch, strict=True):
            torch.testing.assert_close(field, wanted, rtol=0, atol=0)
    copies = [path for path in (tmp_path / "copies").glob("*/*") if path.suffix != ".lock"]
    assert len(copies) == 3


def test_versions_of_a_cache_share_a_folder_and_no_copy(
    crowd: PersonInstances, tmp_path: Path
) -> None:
    crop, folder = transform_of().crop, tmp_path / "copies"
    for version, per_shard in enumerate((2, 3), start=1):
        write_cache(tmp_path / str(per_shard), crowd, crop, settings(people_per_shard=per_shard))
        shutil.copytree(tmp_path / str(per_shard), tmp_path / "cache", dirs_exist_ok=True)
        copies = LocalCopies(folder)
        cache = open_cache(f"file://{tmp_path}/cache", crowd, crop, rule=rule(), copies=copies)
        cache.read(crowd[0])
        assert len(list(folder.glob("*"))) == 1
        assert len(list(folder.glob("*/*.shard-00000.tar"))) == version


def test_an_unreadable_index_is_named(crowd: PersonInstances) -> None:
    crop = transform_of().crop
    with pytest.raises(UserError, match=r"^memory://no/index\.safetensors: cannot be read: "):
        open_cache("memory://no", crowd, crop, rule=rule())
    message = r"^teleport://x/index\.safetensors: cannot be read: ValueError: Protocol not known"
    with pytest.raises(UserError, match=message):
        open_cache("teleport://x", crowd, crop, rule=rule())
