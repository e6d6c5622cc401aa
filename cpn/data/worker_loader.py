"""A torch `DataLoader` whose batches are made as a whole and whose workers end with it."""

import atexit
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, Generic, Self, TypeVar

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from cpn.data.epoch_batches import EpochBatchSampler
from cpn.errors import UserError
from cpn.process.interruption import die_with_parent, ignore_stop

PREFETCHED_BATCHES = 2  # per worker

BatchT = TypeVar("BatchT")


class WorkerLoader(Generic[BatchT]):
    """Batches from a torch `DataLoader`; a worker's `UserError` arrives as it was raised.

    (torch would bury the one-line message in the worker's traceback.) A subclass says in
    `_unpacked` what becomes of that which its maker sends.

    Args:
        maker: its `__getitems__` makes a whole batch of an item of `work`, or gives the UserError
            that keeps it from it.
        work: one item per batch.
        batches: what says how many there are; an `EpochBatchSampler` can be told the epoch.
        num_workers: processes; 0: this one does it all.
        pin_memory: give batches in page-locked memory, from which a GPU copies while it computes.
    """

    def __init__(
        self,
        maker: Dataset[Any],
        work: Iterable[Any],
        batches: Any,  # noqa: ANN401 - has a length
        *,
        num_workers: int,
        pin_memory: bool = False,
    ) -> None:
        self._batches = batches
        self._has_workers = False
        self._loader: DataLoader[Any] = DataLoader(
            maker,
            batch_sampler=work,
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

    def __iter__(self) -> Iterator[BatchT]:
        iterator = iter(self._loader)
        if self._loader.num_workers and not self._has_workers:
            self._has_workers = True
            # Both before torch does it, which comes too late where garbage is collected, and then
            # waits for ever for workers that ignore SIGTERM.
            atexit.register(weakref.finalize(self, _end_workers, iterator))
        for made in iterator:
            if isinstance(made, UserError):
                raise made
            yield self._unpacked(made)

    def _unpacked(self, made: Any) -> BatchT:  # noqa: ANN401 - what the maker gives
        batch: BatchT = made
        return batch

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
