"""Who works on a run and how it ended: a lock, and `status.json` for schedulers and people."""

import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from cpn.engine.distributed import DistributedContext
from cpn.engine.training_state import Progress
from cpn.errors import UserError, first_line, os_error_text
from cpn.files.atomic import write_json
from cpn.process.interruption import Interrupted
from cpn.tasks.training.run_directory import RunDirectory, decided_by_main

logger = logging.getLogger(__name__)

State = Literal["running", "preempted", "failed", "done"]

# Somebody who was killed holds the lock until the system has cleared him away.
LOCK_SECONDS = 10.0


@dataclass(frozen=True)
class RunStatus:
    """Tells in `<run>/status.json` what becomes of a run; for rank 0.

    Attributes:
        path: the file.
        progress: where the run is, as it goes on.
    """

    path: Path
    progress: Progress

    def write(self, state: State, message: str = "") -> None:
        """Replaces the file."""
        document = {
            "state": state,
            "epoch": self.progress.epoch,
            "step": self.progress.step,
            "message": message,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }
        write_json(self.path, document)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Running inside; then done, preempted or failed."""
        self.write("running")
        try:
            yield
        except Interrupted as interrupted:
            self._try_to_write("preempted", str(interrupted))
            raise
        except BaseException as error:
            self._try_to_write("failed", f"{type(error).__name__}: {first_line(error)}")
            raise
        self.write("done")

    def _try_to_write(self, state: State, message: str) -> None:
        """A full disk, of which the run may have died, must not hide why it did."""
        try:
            self.write(state, message)
        except OSError as error:
            logger.warning("the run is %s, but %s", state, os_error_text(error))


@contextmanager
def held_run(directory: RunDirectory, context: DistributedContext) -> Iterator[None]:
    """Inside, no other process trains this run.

    Raises:
        UserError: another one does; on every rank.
    """
    with ExitStack() as stack:
        holding = sole_writer(directory.path, directory.status)
        decided_by_main(lambda: stack.enter_context(holding), context)
        yield


@contextmanager
def sole_writer(run: Path, status: Path) -> Iterator[None]:
    """Holds the run for this process; the system lets go of it when the process dies.

    Args:
        run: the run's folder, which need not exist.
        status: its `status.json`, which names the holder.

    Raises:
        UserError: another process works on the run.
    """
    run.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(run.parent / f".{run.name}.lock", timeout=LOCK_SECONDS):
            yield
    except Timeout as error:
        raise UserError(
            f"another process is training {run}{_holder(status)}; wait for it, stop it, or choose "
            "another run.name"
        ) from error


def _holder(status: Path) -> str:
    try:
        found = json.loads(status.read_bytes())
        return f" (process {found['pid']} on {found['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
