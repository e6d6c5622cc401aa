"""Data loaders whose batches depend on seed and epoch only, not on workers or ranks."""

import atexit
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from cpn.data.pose_dataset import PoseDataset
from cpn.data.sample import PoseBatch, collate_samples
from cpn.data.shared_batches import Key, LentSlots, Parcel, SharedBatches, Work
from cpn.data.skipped_photos import Unreadable, WithUnreadable
from cpn.errors import UserError
from cpn.interruption import die_with_parent, ignore_stop

# Keeps the order's random streams apart from the samples', whose second key word is below 2^63.
ORDER_STREAM = 1 << 63
PREFETCHED_BATCHES = 2  # per worker

Made = PoseBatch | Parcel | WithUnreadable | UserError


class EpochBatchSampler(Sampler[list[Key]]):
    """Batches of (epoch, index) of one rank, in an order given by (seed, epoch).

    Every rank takes its contiguous slice of every global batch; the last, incomplete global batch
    is dropped. So the global batches are the same for any number of ranks.

    Args:
        num_samples: size of the data set.
        global_batch: samples per step, over all ranks.
        rank: of this process.
        world_size: number of processes.
        seed: 0 or more.
        window: None shuffles everything.
        start_epoch: the first epoch; `set_epoch` changes it.

    Raises:
        UserError: the batch cannot be shared evenly, or is larger than the data set.
    """

    def __init__(
        self,
        num_samples: int,
        *,
        global_batch: int,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        window: "ShardWindow | None" = None,
        start_epoch: int = 0,
    ) -> None:
        if global_batch < 1 or global_batch % world_size:
            raise UserError(
                f"the global batch of {global_batch} cannot be shared evenly by {world_size}"
                " process(es); choose a multiple"
            )
        if num_samples < global_batch:
            raise UserError(
                f"{num_samples} training instances do not fill one global batch of {global_batch};"
                " make the batch smaller"
            )
        self.num_samples = num_samples
        self.global_batch = global_batch
        self.rank = rank
        self.world_size = world_size
        self.seed = seed
        self.window = window
        self.epoch, self.first_batch = start_epoch, 0

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """Chooses the epoch that the next iteration gives, and the batch it begins with."""
        self.epoch, self.first_batch = epoch, first_batch

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """(num_samples,) indices in the order of an epoch."""
        key = np.array([self.seed, ORDER_STREAM | epoch], dtype=np.uint64)
        rng = np.random.Generator(np.random.Philox(key=key))
        return rng.permutation(self.num_samples) if self.window is None else self.window.order(rng)

    def __len__(self) -> int:
        return self.num_samples // self.global_batch

    def __iter__(self) -> Iterator[list[Key]]:
        epoch = self.epoch
        used = self.order(epoch)[: len(self) * self.global_batch]
        share = used.reshape(len(self), self.world_size, -1)[:, self.rank]
        for batch in share[self.first_batch :].tolist():
            yield [(epoch, index) for index in batch]


class ShardWindow(NamedTuple):
    """A shuffle that reads a few shards at a time, for shards that do not all fit on the disk.

    The shards come in random order, one after the other, and each sample up to `size` shards later
    than its shard does.

    Attributes:
        shard_numbers: (N,) int64 the shard of each sample.
        size: number of shards, 1 or more.
    """

    shard_numbers: npt.NDArray[np.int64]
    size: int

    def order(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """(N,) the samples, in the order in which they are read."""
        position = rng.permutation(int(self.shard_numbers.max()) + 1)[self.shard_numbers]
        return np.argsort(position + self.size * rng.random(len(position)), kind="stable")


class PoseLoader:
    """Batches from a torch `DataLoader`; a worker's `UserError` arrives as it was raised.

    (torch would bury the one-line message in the worker's traceback.)

    Args:
        dataset: the people.
        batches: of (epoch, index).
        batch_size: most people of a batch.
        num_workers: processes; 0: this one does it all.
        held: batches that the caller has at a time.
        pin_memory: give batches in page-locked memory, from which a GPU copies while it computes.

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
        self._batches = batches
        self._skipped = dataset.skipped
        self._has_workers = False
        pool = None
        if num_workers:
            slots = PREFETCHED_BATCHES * num_workers + held + 1
            pool = SharedBatches(slots, batch_size, dataset.transform.input_hw)
        self._loader: DataLoader[Made] = DataLoader(
            _Maker(dataset, pool),
            batch_sampler=LentSlots(batches, pool),  # type: ignore[arg-type]
            num_workers=num_workers,
            collate_fn=_made_as_a_whole,
            pin_memory=pin_memory,
            worker_init_fn=_start_worker,
            prefetch_factor=PREFETCHED_BATCHES if num_workers else None,
            persistent_workers=num_workers > 0,
            # Otherwise every iterator draws from torch's global stream, and evaluating would
            # change the training that follows.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self._batches)

    def __iter__(self) -> Iterator[PoseBatch]:
        iterator = iter(self._loader)
        if self._loader.num_workers and not self._has_workers:
            self._has_workers = True
            # Both before torch does it, which comes too late where garbage is collected, and then
            # waits for ever for workers that ignore SIGTERM.
            atexit.register(weakref.finalize(self, _end_workers, iterator))
        for made in iterator:
            if isinstance(made, UserError):
                raise made
            batch = made.made if isinstance(made, WithUnreadable) else made
            if isinstance(made, WithUnreadable) and self._skipped is not None:
                self._skipped.add(made.unreadable)
            yield batch.unpack() if isinstance(batch, Parcel) else batch

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """Chooses the epoch that the next iteration gives, and the batch it begins with.

        An evaluation loader has but one epoch.
        """
        assert isinstance(self._batches, EpochBatchSampler)
        self._batches.set_epoch(epoch, first_batch)

    def for_epoch(self, epoch: int) -> Self:
        """This loader after `set_epoch`, to write `for batch in loader.for_epoch(3)`."""
        self.set_epoch(epoch)
        return self


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


def _made_as_a_whole(made: Any) -> Any:  # noqa: ANN401 - torch types it as a list of samples
    return made


def _end_workers(iterator: Any) -> None:  # noqa: ANN401 - torch's, which has no type of its own
    iterator._shutdown_workers()  # noqa: SLF001 - nothing public ends them
    for worker in iterator._workers:  # noqa: SLF001
        worker.kill()


def _start_worker(_worker_id: int) -> None:
    cv2.setNumThreads(0)  # the workers are the parallelism
    ignore_stop()
    die_with_parent()
