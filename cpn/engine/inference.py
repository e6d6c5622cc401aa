"""Running a module without training it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn


class Batch(Protocol):
    """What the engine asks of a batch; see `sample_ids` for what it may have beside."""

    @property
    def num_samples(self) -> int:
        """How many images it has."""
        ...

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Self:
        """The same batch on `device`."""
        ...


BatchT = TypeVar("BatchT", bound=Batch)


class SampleIds(NamedTuple):
    """What to look for in the data: "instance ids" or "image ids", and which ones (N,)."""

    name: str
    ids: Tensor


def sample_ids(batch: Batch) -> SampleIds | None:
    """A batch's `instance_ids`, else its `image_ids`, to be named in errors."""
    for attribute in ("instance_ids", "image_ids"):
        ids = getattr(batch, attribute, None)
        if isinstance(ids, Tensor):
            return SampleIds(attribute.replace("_", " "), ids)
    return None


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
