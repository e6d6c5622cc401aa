"""Being asked to stop: the signal is noted, and obeyed where nothing is lost.

SIGTERM, SIGUSR1 and SIGUSR2 come from schedulers (SLURM, submitit, Kubernetes, torchrun) before
they kill, SIGINT from a person's Ctrl-C, whose second one stops at once.
"""

import ctypes
import os
import signal
import sys
from types import FrameType

# sysexits' EX_TEMPFAIL: the same command, given again, goes on.
EXIT_CODE = 75
# Windows has no SIGUSR1 and SIGUSR2.
_NAMES = ("SIGTERM", "SIGUSR1", "SIGUSR2", "SIGINT")
SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
PR_SET_PDEATHSIG = 1


class Interrupted(Exception):  # noqa: N818 - nothing went wrong
    """A run stopped because it was asked to; the message says where its state is.

    Attributes:
        advice: how it goes on.
    """

    advice = "the same command with run.if_exists=resume goes on"


class EvaluationStopped(Exception):  # noqa: N818
    """An evaluation was given up, on all ranks, because the run is asked to stop."""


class StopRequest:
    """Whether this process was asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def is_made(self) -> bool:
        """Whether there was a signal."""
        return self.signal is not None

    def note(self, number: int, _frame: FrameType | None = None) -> None:
        """The handler: only notes the signal, whatever is under way."""
        again = number == signal.SIGINT and self.signal == signal.SIGINT
        self.signal = signal.Signals(number)
        if again:
            raise KeyboardInterrupt
        if number == signal.SIGINT:
            sys.stderr.write("\nstopping after this step; Ctrl-C again stops at once\n")


STOP = StopRequest()


def listen_for_stop() -> None:
    """Notes the signals from now on. To be called before the slow imports."""
    for number in SIGNALS:
        signal.signal(number, STOP.note)


def ignore_stop() -> None:
    """For a helper process: its parent says when to stop, not who signals the whole group."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def die_with_parent(parent: int | None = None) -> None:
    """Makes Linux kill this process when its parent dies, even by SIGKILL; elsewhere nothing.

    Args:
        parent: its process id, for a process that may be orphaned before it comes to this call.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = parent or os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died just before
        os.kill(os.getpid(), signal.SIGKILL)
