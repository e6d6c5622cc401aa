"""Data loaders whose batches depend on seed and epoch only, not on workers or ranks."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cpn.data.epoch_batches import EpochBatchSampler, Key, ShardWindow
from cpn.data.pose_dataset import PoseDataset
from cpn.data.sample import PoseBatch, collate_samples
from cpn.data.shared_batches import LentSlots, Parcel, SharedBatches, Work
from cpn.data.skipped_photos import Unreadable, WithUnreadable
from cpn.data.worker_loader import PREFETCHED_BATCHES, WorkerLoader
from cpn.errors import UserError

Made = PoseBatch | Parcel | WithUnreadable | UserError


class PoseLoader(WorkerLoader[PoseBatch]):
    """Batches of people; their crops come through memory that the workers share.

    Args:
        dataset: the people.
        batches: of (epoch, index).
        batch_size: most people of a batch.
        num_workers: processes; 0: this one does it all.
        held: batches that the caller has at a time.
        pin_memory: see `WorkerLoader`.

    Raises:
        UserError: the workers' batches do not fit into shared memory.
    """

    def __init__(
        self,
        dataset: PoseDataset,
        batches: EpochBatchSampler | Sequence[list[Key]],
        *,
        batch_size: int,
        num_workers: int,
        held: int = 2,
        pin_memory: bool = False,
    ) -> None:
        self._skipped = dataset.skipped
        pool = None
        if num_workers:
            slots = PREFETCHED_BATCHES * num_workers + held + 1
            pool = SharedBatches(slots, batch_size, dataset.transform.input_hw)
        super().__init__(
            _Maker(dataset, pool),
            LentSlots(batches, pool),
            batches,
            num_workers=num_workers,
            pin_memory=pin_memory,
        )

    def _unpacked(self, made: PoseBatch | Parcel | WithUnreadable) -> PoseBatch:
        batch = made.made if isinstance(made, WithUnreadable) else made
        if isinstance(made, WithUnreadable) and self._skipped is not None:
            self._skipped.add(made.unreadable)
        return batch.unpack() if isinstance(batch, Parcel) else batch


def train_loader(
    dataset: PoseDataset,
    *,
    global_batch: int,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int = 0,
    accumulate: int = 1,
    window: ShardWindow | None = None,
    pin_memory: bool = False,
) -> PoseLoader:
    """Shuffled batches of `global_batch / world_size` samples; see `EpochBatchSampler`.

    Iterate over `loader.for_epoch(epoch)`. Order and augmentation follow the data set's seed. The
    trainer holds a step's `accumulate` batches while it asks for the next ones.

    Raises:
        UserError: the batch does not fit the data set or the number of processes.
    """
    sampler = EpochBatchSampler(
        len(dataset),
        global_batch=global_batch,
        rank=rank,
        world_size=world_size,
        seed=dataset.seed,
        window=window,
        parts=dataset.parts,
    )
    return PoseLoader(
        dataset,
        sampler,
        batch_size=global_batch // world_size,
        num_workers=num_workers,
        held=2 * accumulate,
        pin_memory=pin_memory,
    )


def eval_loader(
    dataset: PoseDataset,
    *,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int = 0,
    pin_memory: bool = False,
    done: npt.NDArray[np.int64] | None = None,
) -> PoseLoader:
    """Every instance exactly once over all ranks, each has a run of them; no padding.

    A rank may have one sample less than another, or none. The people of a photo stay together, so
    that it is decoded once. Instances whose ids are among `done` are left out, and the batches of
    the others stay as they are without that.
    """
    first, end = (len(dataset) * part // world_size for part in (rank, rank + 1))
    by_photo = np.argsort(dataset.instances.image_ids, kind="stable")
    share = [(0, index) for index in by_photo[first:end].tolist()]
    batches = [share[start : start + batch_size] for start in range(0, len(share), batch_size)]
    if done is not None:
        left = np.isin(dataset.instances.annotation_ids, done, invert=True)
        remaining = ([key for key in batch if left[key[1]]] for batch in batches)
        batches = [batch for batch in remaining if batch]
    return PoseLoader(
        dataset,
        batches,
        batch_size=batch_size,
        num_workers=num_workers,
        pin_memory=pin_memory,
    )


class _Maker(Dataset[Made]):
    """Makes a whole batch in the worker, or hands over the user's error instead of it."""

    def __init__(self, dataset: PoseDataset, pool: SharedBatches | None) -> None:
        self._dataset = dataset
        self._pool = pool

    def __getitems__(self, work: Work) -> Made:
        crops = self._room(work)
        unreadable: list[Unreadable] | None = None if self._dataset.skipped is None else []
        try:
            samples = [
                self._dataset.sample(*key, out=place, unreadable=unreadable)
                for key, place in zip(work.keys, crops.numpy(), strict=True)
            ]
        except UserError as error:
            return error
        batch = collate_samples(samples, crops=crops)
        made = batch if self._pool is None else self._pool.pack(batch, work.slot)
        return WithUnreadable(made, unreadable) if unreadable else made

    def _room(self, work: Work) -> Tensor:
        """(N, H, W, 3) uint8 for the crops."""
        if self._pool is not None and work.slot is not None:
            return self._pool.slot(work.slot, len(work.keys))
        height, width = self._dataset.transform.input_hw
        return torch.empty((len(work.keys), height, width, 3), dtype=torch.uint8)
