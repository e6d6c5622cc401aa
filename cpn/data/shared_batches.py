"""Batches through memory that the workers share with the main process, used again and again.

A fresh piece of shared memory per batch costs more than cropping: the system clears and maps every
page of it, on both sides. Here the main process lends a worker one of a few slots together with the
work, the worker fills it, and it is free again when the last tensor that uses it is gone.
"""

import shutil
import weakref
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cpn.data.epoch_batches import Key
from cpn.data.sample import PoseBatch
from cpn.errors import UserError

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps it, no file of ours
MEBIBYTE = 1 << 20


class Work(NamedTuple):
    """What a worker is to make: samples by (epoch, index), with their crops in a slot of the pool.

    Without a slot the crops travel by themselves.
    """

    keys: list[Key]
    slot: int | None


class Parcel:
    """A batch on its way from a worker; the crops are in a slot of a pool, or come along."""

    def __init__(self, batch: PoseBatch, pool: int, slot: int | None) -> None:
        self.pool = pool
        self.slot = slot
        self.crops = batch.crops if slot is None else None
        # As arrays they are pickled in one go; every tensor would be a shared file of its own.
        self.rest = [field.numpy() for field in batch[1:]]

    def unpack(self) -> PoseBatch:
        """The batch, in the main process; its slot is lent again once its crops are gone."""
        return _POOLS[self.pool].take(self)

    def pin_memory(self) -> PoseBatch:
        """The batch in page-locked memory; torch's pinning thread calls this."""
        return self.unpack().pin_memory()


class SharedBatches:
    """The slots of one loader, each for the crops of one batch.

    Args:
        num_slots: how many batches may be under way or in use; more are sent at a higher price.
        batch_size: most samples of a batch.
        crop_hw: size of a crop.

    Raises:
        UserError: the system has not that much shared memory.
    """

    def __init__(self, num_slots: int, batch_size: int, crop_hw: tuple[int, int]) -> None:
        shape = (num_slots, batch_size, *crop_hw, 3)
        _check_room(int(np.prod(shape)))
        self._memory = torch.empty(shape, dtype=torch.uint8)
        self._memory.share_memory_()  # type: ignore[no-untyped-call]
        self._free = list(range(num_slots))
        self._lent: set[int] = set()
        self._number = next(_NUMBERS)
        _POOLS[self._number] = self

    def lend(self) -> int | None:
        """A slot for the next work, None while all are in use. For the main process."""
        if not self._free:
            return None
        slot = self._free.pop()
        self._lent.add(slot)
        return slot

    def take_back(self) -> None:
        """Frees what was lent for batches that nobody fetched, as when a loop is left early.

        Call it when the workers have nothing more to do.
        """
        self._free += self._lent
        self._lent.clear()

    def slot(self, number: int, num_samples: int) -> Tensor:
        """(num_samples, H, W, 3) uint8 in a slot. For the worker."""
        return self._memory[number, :num_samples]

    def pack(self, batch: PoseBatch, slot: int | None) -> Parcel:
        """The batch for the main process. For the worker."""
        return Parcel(batch, self._number, slot)

    def take(self, parcel: Parcel) -> PoseBatch:
        """The batch of a parcel that arrived, see `Parcel.unpack`."""
        rest = [torch.from_numpy(array) for array in parcel.rest]
        if parcel.slot is None:
            assert parcel.crops is not None
            return PoseBatch(parcel.crops, *rest)
        self._lent.discard(parcel.slot)
        crops = self._memory[parcel.slot, : len(parcel.rest[0])].numpy()
        return PoseBatch(self._returning(crops, parcel.slot), *rest)

    def _returning(self, crops: npt.NDArray[np.uint8], slot: int) -> Tensor:
        """The crops as a tensor whose storage holds `crops`: views of any kind keep it alive."""
        weakref.finalize(crops, self._free.append, slot).atexit = False
        return torch.from_numpy(crops).permute(0, 3, 1, 2)


class LentSlots:
    """Batches of keys as work: each is lent a slot when it is handed out.

    Args:
        batches: of keys.
        pool: lends the slots; None: there are no workers.
    """

    def __init__(self, batches: Iterable[list[Key]], pool: SharedBatches | None) -> None:
        self._batches = batches
        self._pool = pool

    def __iter__(self) -> Iterator[Work]:
        # torch's loader starts an epoch only after it has thrown away what was left of the last.
        if self._pool is not None:
            self._pool.take_back()
        for keys in self._batches:
            yield Work(keys, None if self._pool is None else self._pool.lend())


# A parcel travels without its pool and finds it again where it arrives.
_NUMBERS = count()
_POOLS: weakref.WeakValueDictionary[int, SharedBatches] = weakref.WeakValueDictionary()


def _check_room(num_bytes: int) -> None:
    """Refuses what would end in a bus error, as containers with little shared memory give it."""
    if not SHARED_MEMORY.is_dir():
        return
    free = shutil.disk_usage(SHARED_MEMORY).free
    if num_bytes > free:
        raise UserError(
            f"the loader's workers need {num_bytes / MEBIBYTE:.0f} MiB of shared memory, "
            f"{SHARED_MEMORY} has {free / MEBIBYTE:.0f} MiB free; use fewer workers (data.workers "
            "in train.py, workers in evaluate.py; 0 needs none) or a smaller batch, or give the "
            "container more (docker run --shm-size=8g)"
        )
