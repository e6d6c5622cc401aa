"""What a search has found: a table of its trials, the best of them, and how to confirm it."""

import csv
import io
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from cpn.ablation.plan import key_of
from cpn.ablation.trials import Trial

ORDER = ("done", "pruned", "running", "failed", "infeasible")
CONFIRMED = ("best", "second", "third")
FRESH_SEEDS = 3


@dataclass(frozen=True)
class Findings:
    """What is known of a search by now.

    Attributes:
        name: of the search.
        dimensions: their names, in order.
        trials: all of them.
        shared: overrides of all trainings.
        given_use: what the shared configuration alone comes to, see `Run.use_id`.
        seed: of the trainings.
        importances: by dimension.
        wanted: trials asked for.
        folder: of the search.
        out: as configured.
    """

    name: str
    dimensions: Sequence[str]
    trials: Sequence[Trial]
    shared: Sequence[str]
    given_use: str
    seed: int
    importances: Mapping[str, float]
    wanted: int
    folder: str
    out: str

    @property
    def ranked(self) -> list[Trial]:
        """The best first; repeated ones are left out."""
        shown = [trial for trial in self.trials if trial.state != "repeated"]
        return sorted(shown, key=_rank)

    @property
    def done(self) -> list[Trial]:
        """Those with an AP of the end, the best first."""
        return [trial for trial in self.ranked if trial.state == "done"]

    def markdown(self) -> str:
        """The whole report."""
        rows = [[*self._head(), "overrides"], *(self._row(n, t) for n, t in self._places())]
        table = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
        lines = [f"# Search {self.name}", "", self._counted(), ""]
        lines += [
            "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table
        ]
        return "\n".join([*lines, "", *self._words()]) + "\n"

    def csv_text(self) -> str:
        """The table with all digits."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*self._head(), "overrides", "training"])
        for place, trial in self._places():
            row = self._row(place, trial)
            row[2] = "" if trial.ap is None else repr(trial.ap)
            writer.writerow([*row[:-1], " ".join(trial.overrides), trial.training])
        return text.getvalue()

    def confirmation(self) -> str | None:
        """The study, as YAML, of the best trials beside the shared configuration; None without."""
        best = [trial for trial in self.done if trial.use != self.given_use][: len(CONFIRMED)]
        if not best:
            return None
        variants = {"given": {"overrides": list[str]()}}
        variants |= {
            name: {"overrides": list(trial.overrides)}
            for name, trial in zip(CONFIRMED, best, strict=False)
        }
        study = {
            "name": self.confirmation_name,
            "title": f"The best of search {self.name}, with seeds that it has not seen",
            "baseline": "given",
            "variants": variants,
        }
        return yaml.safe_dump(study, sort_keys=False, default_flow_style=None, width=1000)

    @property
    def confirmation_name(self) -> str:
        """Of the study and its file."""
        return f"{self.name.replace('.', '_')}_confirmed"

    def _places(self) -> list[tuple[int, Trial]]:
        return list(enumerate(self.ranked, start=1))

    def _head(self) -> list[str]:
        return ["place", "trial", "AP", "state", *self.dimensions]

    def _row(self, place: int, trial: Trial) -> list[str]:
        told = " ".join(trial.overrides) if not trial.message else trial.message
        ap = "-" if trial.ap is None else f"{trial.ap:.4f}"
        values = [_shown(trial.values.get(name)) for name in self.dimensions]
        return [str(place), str(trial.number), ap, trial.state, *values, told]

    def _counted(self) -> str:
        count = sum(trial.counts and trial.state != "running" for trial in self.trials)
        states = [trial.state for trial in self.trials]
        told = [f"{states.count(s)} {s}" for s in (*ORDER, "repeated") if s in states]
        return f"{count} of {self.wanted} trials: {', '.join(told) or 'none yet'}."

    def _words(self) -> list[str]:
        if not self.done:
            return ["No trial has come to an AP."]
        best = self.done[0]
        overrides = [*_without(self.shared, best.overrides), *best.overrides]
        command = _command("train", [*overrides, f"seed={self.seed}", "run.name=best"])
        lines = [f"Best: trial {best.number}, AP {best.ap:.4f}:", "", f"    {command}", ""]
        tried = sum(trial.state in {"done", "pruned"} for trial in self.trials)
        lines += [
            f"This AP is optimistic: it is the highest of {tried} on the same images, each with "
            f"one seed ({self.seed}): chance chose, too. To confirm it, train the best and the "
            "configuration as given with seeds that the search has not seen:",
            "",
        ]
        lines += (
            [f"    {self._confirming()}"]
            if self.confirmation()
            else ["    nothing to compare: no other configuration than the one given is done"]
        )
        if self.importances:
            told = ", ".join(f"{name} {share:.0%}" for name, share in self.importances.items())
            lines += ["", f"Importance for being among the best (PED-ANOVA): {told}."]
        return lines

    def _confirming(self) -> str:
        seeds = ",".join(str(self.seed + 1 + number) for number in range(FRESH_SEEDS))
        flags = ["--config-dir", f"{self.folder}/configs", f"study={self.confirmation_name}"]
        return _command(
            "ablate", [*flags, *self.shared, f"study.seeds=[{seeds}]", f"out={self.out}"]
        )


def _rank(trial: Trial) -> tuple[int, float, int]:
    ap = -math.inf if trial.ap is None else trial.ap
    return ORDER.index(trial.state), -ap, trial.number


def _without(shared: Sequence[str], own: Sequence[str]) -> list[str]:
    keys = {key_of(text) for text in own}
    return [text for text in shared if key_of(text) not in keys]


def _command(script: str, arguments: Sequence[str]) -> str:
    return shlex.join(["python", f"scripts/{script}.py", *arguments])


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
