"""Places where a test may make a run fail: `CPN_FAULT=name@step:rank[:action]`.

Nothing happens where the variable is not set, nor after torchrun has restarted. Actions: `kill9`
(the default: the process is gone at once), `stop` (it hangs), `term` (it is asked to stop), `nan`
(see `poisoned`).
"""

import os
import signal
from dataclasses import dataclass
from functools import cache

from torch import Tensor

VARIABLE = "CPN_FAULT"
SIGNALS = {"kill9": signal.SIGKILL, "stop": signal.SIGSTOP, "term": signal.SIGTERM}


@dataclass
class _Fault:
    name: str
    step: int
    rank: int
    action: str


@dataclass
class _Here:
    """How far this process is."""

    step: int = 0


HERE = _Here()


def at_step(step: int) -> None:
    """The optimizer step that is under way, from 1 on."""
    HERE.step = step


def failpoint(name: str) -> None:
    """Fails here if that is asked for at this step on this rank."""
    fault = _fault(os.environ.get(VARIABLE, ""))
    if fault and fault.action != "nan" and _is_here(fault, name):
        os.kill(os.getpid(), SIGNALS[fault.action])


def poisoned(name: str, value: Tensor) -> Tensor:
    """The value, or NaN if that is asked for at this step on this rank."""
    fault = _fault(os.environ.get(VARIABLE, ""))
    poison = fault and fault.action == "nan" and _is_here(fault, name)
    return value * float("nan") if poison else value


def _is_here(fault: _Fault, name: str) -> bool:
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0":
        return False
    rank = int(os.environ.get("RANK", "0"))
    return (fault.name, fault.step, fault.rank) == (name, HERE.step, rank)


@cache
def _fault(text: str) -> _Fault | None:
    if not text:
        return None
    name, _, place = text.partition("@")
    step, rank, action = (*place.split(":"), "kill9")[:3]
    return _Fault(name, int(step), int(rank), action)
