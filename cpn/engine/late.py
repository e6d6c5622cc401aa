"""Reading what a GPU computes without waiting for it."""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Numbers = npt.NDArray[np.generic]


class _Reading(NamedTuple):
    step: int
    host: Tensor
    copied: torch.cuda.Event | None
    then: Callable[[Numbers], None]


class LateReader:
    """Hands small tensors to the host some steps after they were asked for, in order.

    The host can then queue the next step while the GPU computes. It is a fixed number of steps and
    not "when ready", so that all ranks see a value at the same place of their loops.

    Args:
        lag: whole steps to wait; 0 hands over at once, as on a CPU, where nothing is waited for.
    """

    def __init__(self, *, lag: int) -> None:
        self._lag = lag
        self._step = 0
        self._waiting: deque[_Reading] = deque()

    def next_step(self) -> None:
        """Call this at the start of every step."""
        self._step += 1
        while self._waiting and self._waiting[0].step + self._lag < self._step:
            self._hand_over()

    def read(self, value: Tensor, then: Callable[[Numbers], None]) -> None:
        """Call `then`, which may raise, with the numbers: after `lag` more steps were queued."""
        copied = None
        host = value.detach().to("cpu", non_blocking=True)
        if value.device.type == "cuda":
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record(torch.cuda.current_stream(value.device))
        self._waiting.append(_Reading(self._step, host, copied, then))
        if self._lag == 0:
            self.settle()

    def settle(self) -> None:
        """Hand over all that is waiting."""
        while self._waiting:
            self._hand_over()

    def _hand_over(self) -> None:
        reading = self._waiting.popleft()
        if reading.copied is not None:
            reading.copied.synchronize()
        reading.then(reading.host.numpy())
