"""Processes that are born ready, to be killed: a server has imported torch, and forks them.

They are not forked from the tests' own process: OpenMP's threads, which other tests have used, do
not survive that.
"""

import gc
import os
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver, get_context, set_start_method
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[1]
TIMEOUT_SECONDS = 60.0
PRELOADED = ["cpn.tasks.train", "tests.engine.conftest"]


def forked(
    target: Callable[..., object],
    *args: Any,
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> BaseProcess:
    """Starts `target(*args)` in a process with one thread.

    Args:
        target: of a module, by name.
        *args: can be pickled.
        environment: for it alone.
        log: gets what it says.
    """
    server = get_context("forkserver")
    server.set_forkserver_preload(PRELOADED)
    with pytest.MonkeyPatch.context() as patch:  # the server does not take over sys.path
        patch.setenv("PYTHONPATH", str(ROOT))
        forkserver.ensure_running()
    process = server.Process(target=_run, args=(target, args, dict(environment or {}), log))
    process.start()
    return process


def forked_ranks(
    target: Callable[..., object],
    folder: Path,
    *args: Any,
    world_size: int,
    environment: Mapping[str, str] | None = None,
) -> list[BaseProcess]:
    """Starts `target(folder, *args)` once per rank, with the environment that torchrun gives.

    Rank n says what it says in `folder/rank_n.log`.
    """
    shared = {"WORLD_SIZE": str(world_size), **(environment or {})}
    return [
        forked(
            target,
            *(folder, *args),
            environment={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            log=folder / f"rank_{rank}.log",
        )
        for rank in range(world_size)
    ]


def exit_codes(
    processes: Sequence[BaseProcess], *, seconds: float = TIMEOUT_SECONDS
) -> list[int | None]:
    """What the processes end with; None for one that has not ended by then, and is killed."""
    end = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
        process.join()
    return codes


def _run(
    target: Callable[..., object],
    args: tuple[Any, ...],
    environment: dict[str, str],
    log: Path | None,
) -> None:
    os.environ.update(environment)
    set_start_method(None, force=True)  # as in a program: its default
    if log is not None:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(descriptor, stream)
    torch.set_num_threads(1)
    code: Any = 0
    try:
        target(*args)
    except SystemExit as error:
        code = error.code
    # Not from within: what the error keeps alive, such as a loader's workers, would never end. From
    # Python 3.12 on it is in a cycle with what it passed through.
    gc.collect()
    raise SystemExit(code)
