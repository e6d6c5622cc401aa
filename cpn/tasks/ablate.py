"""Runs a study: every variant with every seed, their costs, and the table of it all."""

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.table import Table

from cpn.ablation.budget import affordable_epochs
from cpn.ablation.costs import VariantCost
from cpn.ablation.folders import StudyFolders
from cpn.ablation.ledger import Entry, Ledger
from cpn.ablation.outcome import StudyOutcome
from cpn.ablation.page import write_study_page
from cpn.ablation.plan import Variant, plan_variants, require_distinct
from cpn.ablation.table import csv_text, markdown
from cpn.atomic import write_atomically
from cpn.config.schema import TrainConfig
from cpn.config.study_schema import AblateConfig
from cpn.errors import UserError
from cpn.tasks.ablation.leader import Leader, measure_costs, places
from cpn.tasks.ablation.outcome import study_outcome

logger = logging.getLogger(__name__)


class Composer(Protocol):
    """Composes training configs as the command line would."""

    @property
    def given(self) -> list[str]:
        """The overrides of the command line."""
        ...

    def __call__(self, overrides: Sequence[str]) -> TrainConfig:
        """The training config with these overrides."""
        ...


def ablate(config: AblateConfig, compose: Composer) -> StudyOutcome | None:
    """Validates all variants, times them, trains and evaluates what is not done, writes the table.

    Args:
        config: the study, and the training config that its variants share.
        compose: makes the config of a variant.

    Returns:
        What was found; None for a dry run.

    Raises:
        ConfigError: with every problem of every variant, before anything is trained.
        UserError: data or folder cannot be used, or some runs failed; the others are done.
        StudyInterrupted: it was asked to stop.
    """
    study = config.study
    variants = plan_variants(study, compose.given, compose, epochs={})
    require_distinct(variants.values())
    folders = StudyFolders(Path(config.out), study.name)
    costs = measure_costs(config, variants.values(), folders)
    epochs = _affordable(config, variants, costs)
    asked = {name: variant.first.use.engine.epochs for name, variant in variants.items()}
    if epochs:
        variants = plan_variants(study, compose.given, compose, epochs=epochs)
    memory = max(cost.cost.memory_mib for cost in costs.values())
    environments = places(config, len(_trainings(variants)), memory)
    _show_costs(variants, costs, len(environments))
    if config.dry_run:
        return None
    return _run(config, compose.given, folders, variants, asked, environments)


def _run(
    config: AblateConfig,
    given: Sequence[str],
    folders: StudyFolders,
    variants: Mapping[str, Variant],
    asked: Mapping[str, int],
    environments: Sequence[Mapping[str, str]],
) -> StudyOutcome:
    study, ledger = config.study, Ledger(folders.study)
    ledger.plan(study.name, given, _entries(variants, asked))
    facts = _facts(config, given)
    runs = {run.key: run for variant in variants.values() for run in variant.runs.values()}

    def report() -> StudyOutcome:
        found = study_outcome(study, folders, facts)
        write_study(found, folders.study)
        return found

    Leader(study, runs, folders, ledger, report).lead(environments)
    found = report()
    logger.info("\n%s\nwritten: %s", markdown(found), folders.study)
    entries = ledger.entries()
    failed = [entries[key] for key in runs if entries[key].state == "failed"]
    if failed:
        raise UserError(
            f"{len(failed)} of {len(runs)} runs failed, first {failed[0].variant} with seed "
            f"{failed[0].seed}: {failed[0].message}; the others are in {folders.study}, and the "
            "same command tries these again"
        )
    return found


def write_study(found: StudyOutcome, folder: Path) -> None:
    """Writes table.md, table.csv and study.html.

    Raises:
        OSError: one cannot be written; what was there is unchanged.
    """
    write_atomically(folder / "table.md", markdown(found).encode())
    write_atomically(folder / "table.csv", csv_text(found).encode())
    write_study_page(found, folder / "study.html")


def _affordable(
    config: AblateConfig, variants: Mapping[str, Variant], costs: Mapping[str, VariantCost]
) -> dict[str, int]:
    """Epochs of the variants that the budget cuts."""
    budget, cut = config.study.budget, {}
    for name, variant in variants.items():
        engine = variant.first.use.engine
        allowed = affordable_epochs(budget, costs[name].pace, engine.epochs, engine.evaluate_every)
        if allowed < engine.epochs:
            cut[name] = allowed
    return cut


def _entries(variants: Mapping[str, Variant], asked: Mapping[str, int]) -> list[Entry]:
    return [
        Entry(
            variant=name,
            seed=run.seed,
            overrides=variant.settings.overrides,
            training=run.training_id,
            use=run.use_id,
            epochs=run.use.engine.epochs,
            asked_epochs=asked[name],
        )
        for name, variant in variants.items()
        for run in variant.runs.values()
    ]


def _facts(config: AblateConfig, given: Sequence[str]) -> dict[str, str]:
    own = ("study", "out", "dry_run")
    shared = [text for text in given if text.partition("=")[0].partition(".")[0] not in own]
    return {
        "shared overrides": " ".join(shared) or "none",
        "evaluated on": config.data.val.annotations,
        "boxes": config.detections.file or "ground truth",
        "network": "of the last epoch, not the best one",
        "seeds": ", ".join(map(str, config.study.seeds)),
    }


def _trainings(variants: Mapping[str, Variant]) -> set[str]:
    return {run.training_id for variant in variants.values() for run in variant.runs.values()}


def _show_costs(
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
