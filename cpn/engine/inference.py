"""Running a module without training it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, Self, TypeVar

import torch
from torch import nn


class Batch(Protocol):
    """What the engine asks of a batch; `instance_ids` are named in errors where there are some."""

    @property
    def num_samples(self) -> int:
        """How many images it has."""
        ...

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Self:
        """The same batch on `device`."""
        ...


BatchT = TypeVar("BatchT", bound=Batch)


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients; every submodule's own mode comes back after it."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes:
            part.training = training
