"""A loader's worker that dies, as the system kills one when memory runs out."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from cpn.errors import UserError

# What torch raises: where a batch is waited for, and wherever the main process is when it is told
# of a child's death.
_TOLD_BY_TORCH = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) ((?:is|exited)[^.]*)")


class LostWorkerError(UserError):
    """A worker process of a loader died."""


@contextmanager
def named_loss_of_workers() -> Iterator[None]:
    """Inside, a loader's worker that dies is a `LostWorkerError` of one line."""
    try:
        yield
    except RuntimeError as error:
        told = _TOLD_BY_TORCH.match(str(error))
        if told is None:
            raise
        raise LostWorkerError(
            f"loader worker (process {told[1]}) {told[2].strip()}; the system kills the largest "
            "process when memory runs out, so use fewer workers (data.workers in train.py, workers "
            "in evaluate.py) or a smaller batch; a training goes on by the same command with "
            "run.if_exists=resume"
        ) from error
