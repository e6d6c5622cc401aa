"""Jobs of a multirun in other processes (SLURM, submitit), told to the one that launched them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from cpn.config.validation import Problem
from cpn.errors import UserError

Fields = tuple[int, tuple[str, ...], Path | None, dict[str, float], str, bool]


@dataclass(frozen=True)
class JobEnd:
    """What one job came to: its return value, which a launcher carries back pickled.

    Hydra asks each job for its value and keeps none; so it is kept as it arrives: what makes the
    object anew from its pickle also puts it into `ARRIVED`.

    Attributes:
        number: of the job.
        overrides: its combination.
        table: where the numbers are to be listed, if anywhere; see `cpn.command_line.sweep.Sweep`.
        numbers: that the task returned.
        problem: why there are none, for a person; empty where all went well.
        stopped: it was asked to stop, and the problem says how it goes on.
    """

    number: int
    overrides: tuple[str, ...]
    table: Path | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    problem: str = ""
    stopped: bool = False

    def __reduce__(self) -> tuple[Callable[..., "JobEnd"], Fields]:
        numbers = dict(self.numbers)
        return _arrive, (
            *(self.number, self.overrides, self.table, numbers, self.problem, self.stopped),
        )


ARRIVED: dict[int, JobEnd] = {}


def _arrive(*fields: object) -> JobEnd:
    end = JobEnd(*fields)  # type: ignore[arg-type] # as __reduce__ wrote them
    ARRIVED[end.number] = end
    return end


def require_all_well(ends: Sequence[JobEnd]) -> None:
    """Tells of every job that failed.

    Raises:
        UserError: some did.
    """
    failed = [end for end in ends if end.problem and not end.stopped]
    told = [f"job {end.number} ({' '.join(end.overrides)}): {end.problem}" for end in failed]
    if len(told) > 1:
        told = [f"{len(told)} of {len(ends)} jobs failed", *(f"  {text}" for text in told)]
    if told:
        raise UserError("\n".join(told))


def missing_plugin(override: str) -> Problem | None:
    """Says which extra an override needs that is not installed."""
    key, _, option = override.partition("=")
    if key.lstrip("+") == "hydra/launcher" and option.startswith("submitit_"):
        try:
            found = find_spec("hydra_plugins.hydra_submitit_launcher")
        except ModuleNotFoundError:
            found = None
        if found is None:
            return Problem(override, "needs the extra slurm: pip install 'cpn-pose[slurm]'")
    return None
