import gc
import pickle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cpn.data.annotations import read_person_annotations
from cpn.data.epoch_batches import Key
from cpn.data.loaders import PoseLoader
from cpn.data.pose_dataset import PoseDataset
from cpn.data.sample import PoseBatch, PoseSample, collate_samples
from cpn.data.shared_batches import LentSlots, Parcel, SharedBatches
from cpn.data.transforms import PersonTransform
from cpn.errors import UserError


def _sample(value: int) -> PoseSample:
    return PoseSample(
        crop=np.full((2, 2, 3), value, np.uint8),
        points=np.full((1, 2), value, np.float32),
        visibility=np.array([value]),
        image_to_crop=np.zeros((2, 3)),
        instance_id=value,
        image_id=value,
        box_score=1.0,
        box_area=1.0,
    )


def _sent(pool: SharedBatches, value: int, slot: int | None) -> Parcel:
    """Two samples as a worker sends them: pickled."""
    samples = [_sample(value), _sample(value + 1)]
    if slot is None:
        batch = collate_samples(samples)
    else:
        crops = pool.slot(slot, 2)
        crops.copy_(torch.tensor([value, value + 1], dtype=torch.uint8)[:, None, None, None])
        batch = collate_samples(samples, crops=crops)
    parcel: Parcel = pickle.loads(pickle.dumps(pool.pack(batch, slot)))
    return parcel


@pytest.fixture
def pool() -> SharedBatches:
    return SharedBatches(2, batch_size=3, crop_hw=(2, 2))


def _values(batch: PoseBatch) -> list[list[int]]:
    return [batch.crops[:, 0, 0, 0].tolist(), batch.instance_ids.tolist()]


def test_a_batch_arrives_in_its_slot_without_travelling(pool: SharedBatches) -> None:
    slot = pool.lend()
    parcel = _sent(pool, 5, slot)
    assert parcel.crops is None
    batch = parcel.unpack()
    assert _values(batch) == [[5, 6], [5, 6]]
    assert batch.crops.shape == (2, 3, 2, 2)
    assert batch.crops.is_contiguous(memory_format=torch.channels_last)


def test_a_slot_is_free_when_the_last_view_of_it_is_gone(pool: SharedBatches) -> None:
    batch = _sent(pool, 5, pool.lend()).unpack()
    view = batch.crops[:, :1].flatten()
    assert pool.lend() is not None
    del batch
    gc.collect()
    assert pool.lend() is None
    assert set(view.tolist()) == {5, 6}
    del view
    gc.collect()
    assert pool.lend() is not None


def test_without_a_slot_the_crops_come_along(pool: SharedBatches) -> None:
    first, second = pool.lend(), pool.lend()
    assert {first, second} == {0, 1}
    assert pool.lend() is None
    batch = PoseBatch(*_sent(pool, 7, None).unpack())
    assert _values(batch) == [[7, 8], [7, 8]]


def test_pinned_batches_are_copies_and_free_their_slot(
    pool: SharedBatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor.clone())
    slot = pool.lend()
    assert slot is not None
    pinned = _sent(pool, 5, slot).pin_memory()
    gc.collect()
    pool.slot(slot, 2).zero_()
    assert _values(pinned) == [[5, 6], [5, 6]]
    assert {pool.lend(), pool.lend()} == {0, 1}


def test_work_that_nobody_fetched_gives_its_slots_back(pool: SharedBatches) -> None:
    keys: list[list[Key]] = [[(0, 1)], [(0, 2)], [(0, 3)]]
    assert [work.slot for work in LentSlots(keys, pool)] == [1, 0, None]
    held = _sent(pool, 5, 1).unpack()
    # slot 1 is in use, slot 0 was lent and never came
    assert [work.slot for work in LentSlots(keys, pool)] == [0, None, None]
    assert _values(held) == [[5, 6], [5, 6]]


def test_too_little_shared_memory_is_told_before_it_crashes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usage = SimpleNamespace(free=64 << 20)
    monkeypatch.setattr("cpn.data.shared_batches.shutil.disk_usage", lambda _: usage)
    message = r"need 211 MiB of .*, /dev/shm has 64 MiB free; .*data\.workers.*--shm-size"
    with pytest.raises(UserError, match=message):
        SharedBatches(15, batch_size=100, crop_hw=(256, 192))


def test_batches_that_are_kept_stay_what_they_were(tiny_coco: Any) -> None:
    """More are held than there are slots, and a loop is left early before."""
    people = read_person_annotations(tiny_coco.annotations, tiny_coco.images)
    dataset = PoseDataset(people.instances, PersonTransform(people.skeleton, (32, 32)))
    keys: list[list[Key]] = [[(0, number % len(dataset))] for number in range(24)]
    alone = list(PoseLoader(dataset, keys, batch_size=1, num_workers=0))
    loader = PoseLoader(dataset, keys, batch_size=1, num_workers=1)
    for _ in loader:
        break
    kept = list(loader)
    assert len(kept) == 24
    for one, other in zip(kept, alone, strict=True):
        torch.testing.assert_close(tuple(one), tuple(other), rtol=0, atol=0)
