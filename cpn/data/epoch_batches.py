"""The order of an epoch's batches: a function of seed and epoch, not of workers or ranks."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from cpn.errors import UserError

Key = tuple[int, int]  # epoch, index
# Keeps the order's random streams apart from the samples', whose second key word is below 2^63.
ORDER_STREAM = 1 << 63


class Part(NamedTuple):
    """Rows of a data set of which every epoch draws as many, others each time.

    Attributes:
        start: the first row.
        rows: how many follow, itself included.
        drawn: how many of them an epoch has.
    """

    start: int
    rows: int
    drawn: int


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
        parts: of the data set, in order; empty: one, of which everything is drawn.
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
        parts: Sequence[Part] = (),
        start_epoch: int = 0,
    ) -> None:
        if global_batch < 1 or global_batch % world_size:
            raise UserError(
                f"the global batch of {global_batch} cannot be shared evenly by {world_size}"
                " process(es); choose a multiple"
            )
        self.parts = tuple(parts) or (Part(0, num_samples, num_samples),)
        self.drawn = sum(part.drawn for part in self.parts)
        if self.drawn < global_batch:
            raise UserError(
                f"{self.drawn} training instances do not fill one global batch of {global_batch};"
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
        """(drawn,) indices in the order of an epoch."""
        key = np.array([self.seed, ORDER_STREAM | epoch], dtype=np.uint64)
        rng = np.random.Generator(np.random.Philox(key=key))
        if self.window is not None:
            return self.window.order(rng)
        if self.drawn == self.num_samples:
            return rng.permutation(self.num_samples)
        chosen = [part.start + rng.permutation(part.rows)[: part.drawn] for part in self.parts]
        return rng.permutation(np.concatenate(chosen))

    def __len__(self) -> int:
        return self.drawn // self.global_batch

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
