"""Means and throughput between two log lines."""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
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

    def state_dict(self) -> dict[str, Any]:
        """What came together so far on this rank; not the time, which another process has spent."""
        sums = {name: value.cpu() for name, value in self._sums.items()}
        return {"sums": sums, "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any], *, device: torch.device) -> None:
        """Go on from `state_dict()`; throughput counts from now."""
        self.restart()
        self._sums = {name: value.to(device) for name, value in state["sums"].items()}
        self._steps = int(state["steps"])

    def add(self, values: Mapping[str, Tensor], *, num_images: int) -> None:
        """Count one step: its scalars, and how many images this rank saw."""
        for name, value in values.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._steps += 1
        self._images += num_images

    def take(self) -> "Reading":
        """What came together since the last time; then restart.

        Every rank must call it at the same step.
        """
        means = torch.stack([value.double() for value in self._sums.values()]) / self._steps
        seconds = time.perf_counter() - self._start
        rate = self._images * self._context.world_size / seconds
        reading = Reading(tuple(self._sums), self._context.reduce_mean(means), rate)
        self.restart()
        return reading


class Reading(NamedTuple):
    """Means over the steps and ranks, still on the device, and the throughput of all ranks."""

    names: tuple[str, ...]
    means: Tensor
    images_per_second: float

    def figures(self, means: npt.NDArray[np.generic]) -> dict[str, float]:
        """By name, from the means as they came to the host."""
        by_name = dict(zip(self.names, means.tolist(), strict=True))
        return {**by_name, "images_per_second": self.images_per_second}
