"""Means and throughput between two log lines."""

import time
from collections.abc import Mapping

import torch
from torch import Tensor

from cpn.engine.distributed import DistributedContext


class Meter:
    """Adds up what training steps report; sums stay on the device until they are read."""

    def __init__(self, context: DistributedContext) -> None:
        self._context = context
        self.restart()

    def restart(self) -> None:
        """Forget everything and start the clock."""
        self._sums: dict[str, Tensor] = {}
        self._steps = 0
        self._images = 0
        self._start = time.perf_counter()

    def add(self, values: Mapping[str, Tensor], *, num_images: int) -> None:
        """Count one step: its scalars, and how many images this rank saw."""
        for name, value in values.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._steps += 1
        self._images += num_images

    def read(self) -> dict[str, float]:
        """The means over steps and ranks, and `images_per_second` of all ranks; then restart.

        Every rank must call it at the same step.
        """
        means = torch.stack([value.double() for value in self._sums.values()]) / self._steps
        figures = dict(zip(self._sums, self._context.reduce_mean(means).tolist(), strict=True))
        seconds = time.perf_counter() - self._start
        figures["images_per_second"] = self._images * self._context.world_size / seconds
        self.restart()
        return figures
