"""`python scripts/train.py` in a forked process, for the tests that let it fail."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from cpn.data.pose_dataset import PoseDataset


def train_program(overrides: Sequence[str]) -> None:
    """Leaves as the program does, by its exit code."""
    from scripts.train import main  # noqa: PLC0415 - sets signal handlers' ground: only in a child

    sys.argv = ["train.py", *overrides]
    main()


def train_and_lose_a_worker(overrides: Sequence[str], sample: tuple[int, int]) -> None:
    """The worker that is to make the sample (epoch, index) is killed, as if memory had run out."""
    make = PoseDataset.sample

    def make_or_die(self: PoseDataset, *key: int, **options: Any) -> Any:
        if key == sample and torch.utils.data.get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return make(self, *key, **options)

    PoseDataset.sample = make_or_die  # type: ignore[method-assign]
    train_program(overrides)


def last_line(log: Path) -> str:
    """What a program said in the end; it must not have shown a traceback."""
    text = log.read_text()
    assert "Traceback" not in text, text
    return text.splitlines()[-1]
