"""Leads a planned study to its table: costs, trainings, figures, files."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cpn.ablation.budget import in_words
from cpn.ablation.costs import VariantCost
from cpn.ablation.folders import StudyFolders
from cpn.ablation.ledger import Entry, Key, Ledger
from cpn.ablation.outcome import StudyOutcome
from cpn.ablation.page import write_study_page
from cpn.ablation.plan import Variant
from cpn.ablation.subject import Subject
from cpn.ablation.table import csv_text, markdown
from cpn.config.study_schema import StudyConfig
from cpn.errors import UserError
from cpn.files.atomic import write_atomically
from cpn.tasks.ablation.leader import Leader
from cpn.tasks.ablation.outcome import study_outcome

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlannedStudy:
    """A study whose variants are composed.

    Attributes:
        study: as configured.
        subject: what it is of.
        folders: where its files are.
        given: overrides that all variants share.
        variants: by name.
        whole: the same before a budget cut their epochs.
        facts: for the head of the table.
    """

    study: StudyConfig
    subject: Subject[Any]
    folders: StudyFolders
    given: Sequence[str]
    variants: Mapping[str, Variant]
    whole: Mapping[str, Variant]
    facts: Mapping[str, str]

    @property
    def trainings(self) -> set[str]:
        """Ids of what is to be trained."""
        return {run.training_id for each in self.variants.values() for run in each.runs.values()}

    def lead(
        self, environments: Sequence[Mapping[str, str]], *, replace: bool = False
    ) -> StudyOutcome:
        """Trains and evaluates what is not done, and writes the table after each run.

        Args:
            environments: of the jobs that may run at the same time, see `places`.
            replace: forget what else is in the ledger.

        Raises:
            UserError: some runs failed; the others are done and in the table.
            StudyInterrupted: it was asked to stop.
        """
        ledger = Ledger(self.folders.study)
        budget = in_words(self.study.budget)
        ledger.plan(self.study.name, self.given, budget, self._entries(), replace=replace)
        runs = {run.key: run for each in self.variants.values() for run in each.runs.values()}

        def report() -> StudyOutcome:
            found = study_outcome(
                self.study, self.folders, self.facts, wording=self.subject.wording
            )
            write_study(found, self.folders.study)
            return found

        worker = self.subject.worker
        Leader(self.study, runs, self.folders, ledger, worker, report).lead(environments)
        found = report()
        logger.info("\n%s\nwritten: %s", markdown(found), self.folders.study)
        entries = ledger.entries()
        failed = [entries[key] for key in runs if entries[key].state == "failed"]
        if failed:
            raise UserError(
                f"{len(failed)} of {len(runs)} runs failed, first {failed[0].variant} with seed "
                f"{failed[0].seed}: {failed[0].message}; the others are in {self.folders.study}, "
                "and the same command tries these again"
            )
        return found

    def _entries(self) -> list[Entry]:
        asked = asked_ids(self.whole)
        return [
            Entry(
                variant=name,
                seed=run.seed,
                overrides=variant.settings.overrides,
                training=run.training_id,
                folder=str(run.folder or self.folders.training(run.training_id)),
                use=run.use_id,
                asked=asked[run.key],
                timed=self.whole[name].first.timed[1],
                epochs=run.use.engine.epochs,
                asked_epochs=self.whole[name].first.use.engine.epochs,
            )
            for name, variant in self.variants.items()
            for run in variant.runs.values()
        ]


def asked_ids(variants: Mapping[str, Variant]) -> dict[Key, str]:
    """By run, the id of its configuration."""
    return {run.key: run.use_id for each in variants.values() for run in each.runs.values()}


def write_study(found: StudyOutcome, folder: Path) -> None:
    """Writes table.md, table.csv and study.html.

    Raises:
        OSError: one cannot be written; what was there is unchanged.
    """
    write_atomically(folder / "table.md", markdown(found).encode())
    write_atomically(folder / "table.csv", csv_text(found).encode())
    write_study_page(found, folder / "study.html")


def show_costs(
    variants: Mapping[str, Variant], costs: Mapping[str, VariantCost], jobs: int
) -> None:
    """The table of a dry run, and how long the study will take."""
    console = Console(width=None if Console().is_terminal else 120, stderr=True)
    table = Table(
        "variant", "parameters", "GFLOPs", "images/s", "latency", "peak memory", "epochs", "a run"
    )
    seconds: dict[str, float] = {}
    for name, variant in variants.items():
        cost, pace, engine = costs[name].cost, costs[name].pace, variant.first.use.engine
        own = pace.seconds(engine.epochs, engine.evaluate_every)
        seconds |= dict.fromkeys((run.training_id for run in variant.runs.values()), own)
        table.add_row(
            name,
            f"{cost.parameters / 1e6:.2f} M",
            f"{cost.gflops:.3f}",
            f"{cost.training_rate:.1f}",
            f"{cost.latency_ms:.1f} ms",
            f"{cost.memory_mib:.0f} MiB",
            str(engine.epochs),
            str(timedelta(seconds=round(own))),
        )
    console.print(table)
    runs = sum(len(variant.runs) for variant in variants.values())
    total = timedelta(seconds=round(sum(seconds.values()) / jobs))
    console.print(
        f"{runs} runs of {len(variants)} variants, {len(seconds)} trainings, {jobs} at a time: "
        f"about {total} in all, by a short timing on {next(iter(costs.values())).device}",
        highlight=False,
    )
