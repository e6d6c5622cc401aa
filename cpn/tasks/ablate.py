"""Runs a study: every variant with every seed, their costs, and the table of it all."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from cpn.ablation.budget import affordable_epochs, in_words
from cpn.ablation.costs import VariantCost
from cpn.ablation.folders import StudyFolders
from cpn.ablation.ledger import Ledger
from cpn.ablation.outcome import StudyOutcome
from cpn.ablation.plan import (
    STUDY_KEYS,
    Variant,
    plan_variants,
    require_comparable,
    require_distinct,
    shared_overrides,
)
from cpn.ablation.subject import Subject
from cpn.config.schema import TrainingConfig
from cpn.config.study_schema import AblationConfig
from cpn.tasks.ablation.leader import measure_costs, places
from cpn.tasks.ablation.study import PlannedStudy, asked_ids, show_costs


class Composer(Protocol):
    """Composes training configs as the command line would."""

    @property
    def given(self) -> list[str]:
        """The overrides of the command line."""
        ...

    def __call__(self, overrides: Sequence[str]) -> TrainingConfig:
        """The training config with these overrides."""
        ...


def ablate(config: AblationConfig, compose: Composer, subject: Subject[Any]) -> StudyOutcome | None:
    """Validates all variants, times them, trains and evaluates what is not done, writes the table.

    Args:
        config: the study, and the training config that its variants share.
        compose: makes the config of a variant.
        subject: what the study is of; the configs are its own.

    Returns:
        What was found; None for a dry run.

    Raises:
        ConfigError: with every problem of every variant, before anything is trained.
        UserError: data or folder cannot be used, or some runs failed; the others are done.
        StudyInterrupted: it was asked to stop.
    """
    study = config.study
    plan = partial(plan_variants, study, compose.given, compose, use_keys=subject.use_keys)
    variants = plan(epochs={})
    require_distinct(variants.values())
    require_comparable(variants.values())
    folders = StudyFolders(Path(config.out), study.name)
    asked = asked_ids(variants)
    known = Ledger(folders.study).known_epochs(compose.given, asked, in_words(study.budget))
    device, timer = config.engine.device, subject.timer
    costs = measure_costs(study, device, variants.values(), folders, timer=timer)
    epochs = _affordable(config, variants, costs) | known
    whole, variants = variants, plan(epochs=epochs)
    require_distinct(variants.values())
    facts = _facts(config, compose.given, subject.facts(config), costs)
    planned = PlannedStudy(study, subject, folders, compose.given, variants, whole, facts)
    memory = max(cost.cost.memory_mib for cost in costs.values())
    environments = places(study.jobs, device, len(planned.trainings), memory)
    show_costs(variants, costs, len(environments))
    return None if config.dry_run else planned.lead(environments)


def _affordable(
    config: AblationConfig, variants: Mapping[str, Variant], costs: Mapping[str, VariantCost]
) -> dict[str, int]:
    """Epochs of the variants that the budget cuts."""
    budget, cut = config.study.budget, {}
    for name, variant in variants.items():
        engine, schedule = variant.first.use.engine, variant.first.use.schedule
        allowed = affordable_epochs(budget, costs[name].pace, engine.epochs, engine.evaluate_every)
        # A warm-up that is never over would be refused.
        allowed = max(allowed, min(engine.epochs, math.floor(schedule.warmup_epochs) + 1))
        if allowed < engine.epochs:
            cut[name] = allowed
    return cut


def _facts(
    config: AblationConfig,
    given: Sequence[str],
    own: Mapping[str, str],
    costs: Mapping[str, VariantCost],
) -> dict[str, str]:
    shared = shared_overrides(given, STUDY_KEYS)
    return {
        "shared overrides": " ".join(shared) or "none",
        "evaluated on": config.data.val.annotations,
        **own,
        "network": "of the last epoch, not the best one",
        "timed on": ", ".join(dict.fromkeys(cost.device for cost in costs.values())),
    }
