"""Runs jobs in processes of their own, several at a time, each claimed by one leading process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from cpn.process.interruption import EXIT_CODE, Interrupted

POLL_SECONDS = 0.2
# Somebody else's job is looked at again so often.
WAIT_SECONDS = 2.0


class StudyInterrupted(Interrupted):
    """A study stopped because it was asked to; what was trained is kept."""

    advice = "the same command goes on"


@dataclass(frozen=True)
class Job:
    """One process.

    Attributes:
        name: for messages; unique.
        module: `python -m <module> <order>`.
        order: its file.
        log: gets its output.
        claim: a file that one leading process locks while the job runs, on whatever machine.
    """

    name: str
    module: str
    order: Path
    log: Path
    claim: Path


@dataclass
class _Running:
    job: Job
    process: "subprocess.Popen[bytes]"
    lock: FileLock
    place: int
    began: float = field(default_factory=time.monotonic)
    is_dropped: bool = False


class JobRunner:
    """Runs jobs until there are no more.

    Args:
        environments: what each place adds to the environment, such as CUDA_VISIBLE_DEVICES; so
            many jobs run at a time.
        stop_requested: whether to stop: running jobs are told to save their state, and awaited.
    """

    def __init__(
        self, environments: Sequence[Mapping[str, str]], stop_requested: Callable[[], bool]
    ) -> None:
        self._environments = environments
        self._stop_requested = stop_requested
        self._running: list[_Running] = []

    def run(
        self,
        waiting: Callable[[], Sequence[Job]],
        *,
        prepare: Callable[[Job], bool],
        ended: Callable[[Job, int, float], None],
        is_hopeless: Callable[[Job], bool] = lambda _job: False,
    ) -> None:
        """Runs what waits until nothing does.

        Args:
            waiting: the jobs that may be begun now, without those that are done; asked again
                whenever a place is free.
            prepare: called with the claim in hand, writes the order; False if there is nothing
                left to do, because another process has done it meanwhile.
            ended: a job's process has ended, with this exit code, after so many seconds.
            is_hopeless: asked of running jobs again and again: whether to stop one; it is told to
                save its state.

        Raises:
            StudyInterrupted: it was asked to stop.
        """
        try:
            while True:
                self._collect(ended)
                if self._stop_requested():
                    raise StudyInterrupted(self._stop(ended))
                self._drop(is_hopeless)
                left = [job for job in waiting() if job.name not in self._names()]
                begun = self._fill(left, prepare)
                if not left and not self._running:
                    return
                if not begun:
                    others = left and not self._running
                    time.sleep(WAIT_SECONDS if others else POLL_SECONDS)
        finally:
            self._kill()

    def _names(self) -> set[str]:
        return {running.job.name for running in self._running}

    def _fill(self, jobs: Sequence[Job], prepare: Callable[[Job], bool]) -> bool:
        """Begins a job if there is a place and one that nobody else has; whether one was looked at.

        One at a time: what is done meanwhile may change what waits.
        """
        taken = {running.place for running in self._running}
        free = [place for place in range(len(self._environments)) if place not in taken]
        if not free:
            return False
        for job in jobs:
            lock = FileLock(job.claim)
            try:
                job.claim.parent.mkdir(parents=True, exist_ok=True)
                lock.acquire(timeout=0)
            except Timeout:
                continue
            if prepare(job):
                process = self._start(job, self._environments[free[0]])
                self._running.append(_Running(job, process, lock, free[0]))
            else:
                lock.release()
            return True
        return False

    def _start(self, job: Job, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        job.log.parent.mkdir(parents=True, exist_ok=True)
        # Of this attempt alone: its last line may tell why it failed.
        with job.log.open("wb") as log:
            # A session of its own: Ctrl-C reaches this process alone, which asks jobs to stop.
            return subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", job.module, str(job.order), str(os.getpid())],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _collect(self, ended: Callable[[Job, int, float], None]) -> None:
        for running in list(self._running):
            code = running.process.poll()
            if code is None:
                continue
            self._running.remove(running)
            try:
                ended(running.job, code, time.monotonic() - running.began)
            finally:
                running.lock.release()

    def _drop(self, is_hopeless: Callable[[Job], bool]) -> None:
        for running in self._running:
            if not running.is_dropped and is_hopeless(running.job):
                running.is_dropped = True
                with suppress(ProcessLookupError):
                    running.process.send_signal(signal.SIGTERM)

    def _stop(self, ended: Callable[[Job, int, float], None]) -> str:
        for running in self._running:
            with suppress(ProcessLookupError):
                running.process.send_signal(signal.SIGTERM)
        count = len(self._running)
        while self._running:
            self._collect(ended)
            time.sleep(POLL_SECONDS)
        return f"stopped as asked; {count} running job{'' if count == 1 else 's'} saved"

    def _kill(self) -> None:
        for running in self._running:
            running.process.kill()
            running.process.wait()
            running.lock.release()
        self._running.clear()


def was_stopped(code: int) -> bool:
    """Whether an exit code says that the job kept its state because it was asked to stop."""
    return code in {EXIT_CODE, -signal.SIGTERM}


def last_line(log: Path) -> str:
    """What a failed job said at its end."""
    try:
        lines = log.read_bytes().decode(errors="replace").split("\n")
    except OSError:
        return ""
    told = [line.strip() for line in lines if line.strip()]
    errors = [line for line in told if line.startswith("error: ")]
    return (errors or told or [""])[-1].removeprefix("error: ")
