import gc
import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cpn.data.annotations import read_person_annotations
from cpn.data.augmentation import Augmentation
from cpn.data.epoch_batches import EpochBatchSampler, ShardWindow
from cpn.data.loaders import PoseLoader, eval_loader, train_loader
from cpn.data.pose_dataset import PoseDataset
from cpn.data.sample import PoseBatch
from cpn.data.transforms import PersonTransform
from cpn.errors import UserError
from cpn.files.atomic import write_json
from tests.conftest import TinyCoco
from tests.forked import forked


@pytest.fixture
def dataset(tiny_coco: TinyCoco) -> PoseDataset:
    people = read_person_annotations(tiny_coco.annotations, tiny_coco.images)
    transform = PersonTransform(people.skeleton, (32, 24), augmentation=Augmentation())
    return PoseDataset(people.instances, transform, seed=3)


def _two_epochs(dataset: PoseDataset, *, workers: int, ranks: int) -> list[PoseBatch]:
    """The global batches of two epochs, put together from every rank's slices."""
    loaders = [
        train_loader(dataset, global_batch=2, rank=rank, world_size=ranks, num_workers=workers)
        for rank in range(ranks)
    ]
    batches = []
    for epoch in range(2):
        slices = zip(*(loader.for_epoch(epoch) for loader in loaders), strict=True)
        batches += [
            PoseBatch(*(torch.cat(fields) for fields in zip(*parts, strict=True)))
            for parts in slices
        ]
    return batches


@pytest.mark.parametrize(("workers", "ranks"), [(1, 1), (2, 1), (0, 2), (2, 2)])
def test_workers_and_ranks_change_nothing(dataset: PoseDataset, workers: int, ranks: int) -> None:
    expected = _two_epochs(dataset, workers=0, ranks=1)
    found = _two_epochs(dataset, workers=workers, ranks=ranks)
    assert len(found) == len(expected) == 6
    for batch, reference in zip(found, expected, strict=True):
        for field, wanted in zip(batch, reference, strict=True):
            torch.testing.assert_close(field, wanted, rtol=0, atol=0)


def test_two_epochs_differ_in_order_and_crops(dataset: PoseDataset) -> None:
    batches = _two_epochs(dataset, workers=0, ranks=1)
    first, second = batches[:3], batches[3:]
    ids = [torch.cat([batch.instance_ids for batch in epoch]) for epoch in (first, second)]
    assert sorted(ids[0].tolist()) == sorted(ids[1].tolist()) == [1, 2, 3, 4, 5, 6]
    assert ids[0].tolist() != ids[1].tolist()
    matrices = [torch.cat([batch.image_to_crop for batch in epoch]) for epoch in (first, second)]
    by_id = [matrix[order.argsort()] for matrix, order in zip(matrices, ids, strict=True)]
    assert (by_id[0] != by_id[1]).any(dim=(1, 2)).all()


def test_loading_leaves_the_global_random_streams_alone(dataset: PoseDataset) -> None:
    before = torch.get_rng_state(), repr(np.random.get_state()), random.getstate()  # noqa: NPY002
    list(train_loader(dataset, global_batch=2).for_epoch(0))
    list(eval_loader(dataset, batch_size=2))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (repr(np.random.get_state()), random.getstate()) == before[1:]  # noqa: NPY002


@given(
    st.integers(1, 40),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 2**40),
    st.integers(0, 1000),
)
@settings(max_examples=60, derandomize=True)
def test_ranks_share_the_epochs_permutation(
    num_samples: int, per_rank: int, ranks: int, seed: int, epoch: int
) -> None:
    global_batch = per_rank * ranks
    num_samples += global_batch
    samplers = [
        EpochBatchSampler(
            num_samples,
            global_batch=global_batch,
            rank=rank,
            world_size=ranks,
            seed=seed,
            start_epoch=epoch,
        )
        for rank in range(ranks)
    ]
    steps = list(zip(*samplers, strict=True))
    assert len(steps) == len(samplers[0]) == num_samples // global_batch
    assert {len(part) for parts in steps for part in parts} == {per_rank}
    seen = [key for parts in steps for part in parts for key in part]
    assert {key[0] for key in seen} == {epoch}
    order = samplers[0].order(epoch).tolist()
    assert sorted(order) == list(range(num_samples))
    assert [key[1] for key in seen] == order[: len(seen)]


def test_seeds_and_epochs_give_other_orders() -> None:
    orders = [
        tuple(EpochBatchSampler(50, global_batch=1, seed=seed).order(epoch).tolist())
        for seed in range(3)
        for epoch in range(3)
    ]
    assert len(set(orders)) == 9


def test_a_batch_that_ranks_cannot_share_is_refused() -> None:
    with pytest.raises(UserError, match=r"batch of 10 cannot be shared evenly by 4 process"):
        EpochBatchSampler(100, global_batch=10, world_size=4)
    with pytest.raises(UserError, match="batch of 0 cannot be shared"):
        EpochBatchSampler(100, global_batch=0)


def test_too_few_samples_for_one_batch_are_refused() -> None:
    with pytest.raises(UserError, match="3 training instances do not fill one global batch of 4"):
        EpochBatchSampler(3, global_batch=4)


@pytest.mark.parametrize(("ranks", "workers"), [(1, 0), (2, 0), (4, 0), (7, 0), (2, 2)])
def test_evaluation_gives_every_instance_once(
    dataset: PoseDataset, ranks: int, workers: int
) -> None:
    seen: list[int] = []
    for rank in range(ranks):
        loader = eval_loader(
            dataset, batch_size=4, rank=rank, world_size=ranks, num_workers=workers
        )
        share = [batch.instance_ids.tolist() for batch in loader]
        assert len(share) == len(loader)
        seen += [annotation_id for batch in share for annotation_id in batch]
    assert sorted(seen) == [1, 2, 3, 4, 5, 6]


def test_who_is_done_is_left_out_and_the_other_batches_stay(dataset: PoseDataset) -> None:
    for ids, left in (([1, 2, 5], [[3, 4], [6]]), ([1, 2, 3, 4], [[5, 6]]), (range(1, 7), [])):
        loader = eval_loader(dataset, batch_size=4, done=np.array(ids))
        assert [batch.instance_ids.tolist() for batch in loader] == left
        assert len(loader) == len(left)


def test_evaluation_keeps_the_order(dataset: PoseDataset) -> None:
    batches = [batch.instance_ids.tolist() for batch in eval_loader(dataset, batch_size=4)]
    assert batches == [[1, 2, 3, 4], [5, 6]]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_workers_error_stays_one_line(
    dataset: PoseDataset, tiny_coco: TinyCoco, workers: int
) -> None:
    (tiny_coco.images / "002.png").write_bytes(b"no image")
    loader = eval_loader(dataset, batch_size=1, num_workers=workers)
    with pytest.raises(UserError, match=r"002\.png: not a readable image") as caught:
        list(loader)
    assert "\n" not in str(caught.value)


def test_workers_leave_signals_to_their_parent(dataset: PoseDataset) -> None:
    """A scheduler signals the whole group; the batches under way are still needed."""
    loader = train_loader(dataset, global_batch=2, num_workers=1)
    first = next(iter(loader.for_epoch(0)))
    (worker,) = _workers(loader)
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
        worker.send_signal(number)
    batches = list(loader.for_epoch(0))
    assert torch.equal(batches[0].crops, first.crops)
    assert len(batches) == 3
    assert _workers(loader) == [worker]


def _workers(loader: PoseLoader) -> list[psutil.Process]:
    iterator: Any = loader._loader._iterator
    return [psutil.Process(each.pid) for each in iterator._workers]


def _load_for_ever(dataset: PoseDataset, report: Path) -> None:
    loader = train_loader(dataset, global_batch=2, num_workers=1)
    next(iter(loader.for_epoch(0)))
    write_json(report, [worker.pid for worker in _workers(loader)])
    time.sleep(60)


def test_workers_die_with_their_parent(dataset: PoseDataset, tmp_path: Path) -> None:
    """At once: torch's own workers look for their parent every five seconds."""
    report = tmp_path / "report.json"
    parent = forked(_load_for_ever, dataset, report)
    _wait_until(report.exists, seconds=60)
    (pid,) = json.loads(report.read_text())
    worker = psutil.Process(pid)
    parent.kill()
    parent.join()
    _wait_until(lambda: not _lives(worker), seconds=2)


def test_workers_end_with_a_loader_that_is_garbage(dataset: PoseDataset) -> None:
    """Such as one that the traceback of an error holds; a living worker would hang the exit."""
    loader = train_loader(dataset, global_batch=2, num_workers=1)
    next(iter(loader.for_epoch(0)))
    (worker,) = _workers(loader)
    cycle: list[Any] = [loader]
    cycle.append(cycle)
    del loader, cycle
    gc.collect()
    assert not _lives(worker)


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _wait_until(condition: Callable[[], bool], *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_loader_can_be_used_again(dataset: PoseDataset) -> None:
    loader = train_loader(dataset, global_batch=3, num_workers=1)
    first = [batch.instance_ids.tolist() for batch in loader.for_epoch(1)]
    second = [batch.instance_ids.tolist() for batch in loader.for_epoch(1)]
    assert first == second
    assert len(loader) == 2


def test_evaluation_keeps_the_people_of_a_photo_together(dataset: PoseDataset) -> None:
    """Whatever their order in the file, so that no photo is decoded twice."""
    mixed = dataset.instances.take([5, 0, 3, 1, 4, 2])
    loader = eval_loader(PoseDataset(mixed, dataset.transform), batch_size=2)
    ids = [int(image_id) for batch in loader for image_id in batch.image_ids]
    assert ids == sorted(mixed.image_ids.tolist())
    assert len(set(ids)) < len(ids)


def _shards(people_per_shard: int, shards: int) -> npt.NDArray[np.int64]:
    """(N,) shard numbers of people who are not in the order of the shards."""
    numbers = np.repeat(np.arange(shards), people_per_shard)
    return np.random.default_rng(0).permutation(numbers)


@given(st.integers(1, 30), st.integers(1, 20), st.integers(1, 25), st.integers(0, 2**40))
@settings(max_examples=60, derandomize=True)
def test_a_window_reads_few_shards_at_a_time(
    people_per_shard: int, shards: int, size: int, seed: int
) -> None:
    window = ShardWindow(_shards(people_per_shard, shards), size)
    order = window.order(np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(len(window.shard_numbers)))
    read = window.shard_numbers[order]
    places = [np.flatnonzero(read == shard) for shard in range(shards)]
    opened = np.array([place[0] for place in places])
    last = np.array([place[-1] for place in places])
    at_a_time = [((opened <= now) & (now <= last)).sum() for now in range(len(read))]
    assert max(at_a_time) <= size


def test_a_window_mixes_its_shards() -> None:
    """Of shards of 50, those of a window of five are all among the next 250."""
    window = ShardWindow(_shards(50, 40), 5)
    read = window.shard_numbers[window.order(np.random.default_rng(0))]
    assert min(len(set(read[start : start + 250].tolist())) for start in range(500, 1500)) > 5
    neighbours = (read[1:] == read[:-1]).mean()
    assert 0.15 < neighbours < 0.25  # one in five


def test_a_window_takes_the_shards_in_random_order() -> None:
    window = ShardWindow(np.arange(100), 1)
    orders = [window.order(np.random.default_rng(seed)).tolist() for seed in range(2)]
    assert orders[0] != orders[1]
    assert all(order != sorted(order) for order in orders)


def test_a_window_needs_people_of_some_shards_only() -> None:
    order = ShardWindow(np.array([7, 2, 7]), 2).order(np.random.default_rng(0))
    assert sorted(order.tolist()) == [0, 1, 2]


@pytest.mark.parametrize("ranks", [2, 4])
def test_a_windows_global_batches_are_the_same_for_any_ranks(ranks: int) -> None:
    window = ShardWindow(_shards(7, 6), 2)

    def batches(world_size: int) -> list[list[tuple[int, int]]]:
        samplers = [
            EpochBatchSampler(
                42,
                global_batch=8,
                rank=rank,
                world_size=world_size,
                seed=3,
                window=window,
                start_epoch=5,
            )
            for rank in range(world_size)
        ]
        steps = zip(*samplers, strict=True)
        return [[key for part in parts for key in part] for parts in steps]

    assert batches(ranks) == batches(1)
    assert [len(batch) for batch in batches(1)] == [8] * 5


def test_seeds_and_epochs_give_a_window_other_orders() -> None:
    window = ShardWindow(_shards(10, 5), 2)
    orders = [
        tuple(EpochBatchSampler(50, global_batch=1, seed=seed, window=window).order(epoch).tolist())
        for seed in range(3)
        for epoch in range(3)
    ]
    assert len(set(orders)) == 9


def test_a_loader_follows_its_window(dataset: PoseDataset) -> None:
    window = ShardWindow(np.array([0, 1, 2, 0, 1, 2]), 1)
    loader = train_loader(dataset, global_batch=2, window=window)
    for epoch in range(5):
        batches = [batch.instance_ids.tolist() for batch in loader.for_epoch(epoch)]
        assert sorted(sorted(batch) for batch in batches) == [[1, 4], [2, 5], [3, 6]]
