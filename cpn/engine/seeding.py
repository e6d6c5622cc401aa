"""Seeds and random states as plain types that `torch.load(weights_only=True)` accepts."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int, *, rank: int = 0, deterministic: bool = False) -> None:
    """Seed python, numpy and torch with `seed + rank`.

    Ranks draw different dropout masks; their initial weights are made equal by DDP, which
    broadcasts rank 0's. `deterministic` also asks torch for deterministic kernels, which raises
    where an operation has none; call it before the first CUDA work.
    """
    random.seed(seed + rank)
    np.random.seed((seed + rank) % 2**32)  # noqa: NPY002 - third-party code draws from it
    torch.manual_seed(seed + rank)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True)


def random_state() -> dict[str, Any]:
    """The global random states of this process: python, numpy, torch CPU and its CUDA device."""
    cuda_used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "python": random.getstate(),
        "numpy": [[int(key) for key in keys], int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if cuda_used else None,
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Undo what was drawn since `random_state()` gave `state`."""
    random.setstate(state["python"])
    keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state(  # noqa: NPY002
        ("MT19937", np.array(keys, dtype=np.uint32), position, has_gauss, cached)
    )
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Whatever is drawn inside (an evaluation, a picture) leaves the outside's draws unchanged."""
    state = random_state()
    try:
        yield
    finally:
        restore_random_state(state)
