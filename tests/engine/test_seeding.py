import io
import os
import random

import numpy as np
import pytest
import torch

from cpn.engine.seeding import (
    preserved_random_state,
    random_state,
    restore_random_state,
    seed_everything,
)


def draw() -> tuple[float, float, float, float]:
    normal = np.random.randn()  # noqa: NPY002 - leaves a cached second value
    return random.gauss(0, 1), normal, np.random.rand(), float(torch.rand(1))  # noqa: NPY002


def test_seeds_repeat_and_differ_by_rank() -> None:
    seed_everything(4)
    first = draw()
    seed_everything(4)
    assert draw() == first
    seed_everything(4, rank=1)
    assert all(a != b for a, b in zip(draw(), first, strict=True))


def test_state_survives_a_safe_file() -> None:
    seed_everything(1)
    draw()
    file = io.BytesIO()
    torch.save(random_state(), file)
    expected = [draw() for _ in range(3)]
    file.seek(0)
    restore_random_state(torch.load(file, weights_only=True))
    assert [draw() for _ in range(3)] == expected


def test_what_is_drawn_inside_does_not_shift_the_outside() -> None:
    seed_everything(2)
    expected = draw()
    seed_everything(2)

    def fail() -> None:
        with preserved_random_state():
            draw()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert draw() == expected


def test_deterministic_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        seed_everything(0, deterministic=True)
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
