"""Makes a study of runs that are trained already, for instance by a multirun of `train.py`."""

import glob
import logging
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cpn.ablation.folders import StudyFolders
from cpn.ablation.outcome import StudyOutcome
from cpn.ablation.plan import IDLE_KEYS, Run, Variant, require_comparable
from cpn.config.schema import TrainConfig
from cpn.config.study_schema import (
    NO_BUDGET,
    OWN_KEYS,
    CollectConfig,
    StudyConfig,
    VariantConfig,
)
from cpn.errors import UserError
from cpn.tasks.ablation.leader import measure_costs, places
from cpn.tasks.ablation.study import PlannedStudy
from cpn.tasks.ablation.subjects import POSES
from cpn.tasks.ablation.work import is_trained
from cpn.tasks.training.run_directory import RunDirectory, flatten, read_run_config

logger = logging.getLogger(__name__)

LONGEST_NAME = 60


@dataclass(frozen=True)
class _Found:
    """A run with the values of the keys that are not the same in all of them."""

    folder: Path
    config: TrainConfig
    varied: Mapping[str, Any]


def collect(config: CollectConfig) -> StudyOutcome:
    """Evaluates runs that are done and writes the table of a study for them.

    Runs that differ in nothing but the seed are one variant, named by the keys that vary.

    Raises:
        UserError: there are no such runs, one of them is not done, two are the same, or the
            baseline is none of them.
    """
    found = _found_runs(config.runs)
    named = _named(found)
    baseline = config.baseline or next(iter(named))
    if baseline not in named:
        raise UserError(f"baseline={baseline}: no such variant; there are {', '.join(named)}")
    folders = StudyFolders(Path(config.out), config.name)
    variants = {name: _variant(name, runs) for name, runs in named.items()}
    require_comparable(variants.values())
    first = found[0].config
    planned = PlannedStudy(
        study=_study(config, variants, baseline),
        subject=POSES,
        folders=folders,
        given=[f"runs={pattern}" for pattern in config.runs],
        variants=variants,
        whole=variants,
        facts={
            "runs": ", ".join(config.runs),
            "evaluated on": first.data.val.annotations,
            **POSES.facts(first),
            "network": "of the last epoch, not the best one",
        },
    )
    device = first.engine.device
    try:
        measure_costs(planned.study, device, variants.values(), folders, timer=POSES.timer)
    except UserError as error:
        logger.warning("costs are not told: %s", error)
    environments = places(config.jobs, device, len(planned.trainings))
    return planned.lead(environments, replace=True)


def _found_runs(patterns: Sequence[str]) -> list[_Found]:
    matched = [match for pattern in patterns for match in sorted(glob.glob(pattern))]  # noqa: PTH207 - it may begin anywhere
    folders = [Path(match) for match in dict.fromkeys(matched) if Path(match).is_dir()]
    if not folders:
        raise UserError(f"runs={list(patterns)}: there is no such folder; give runs of train.py")
    configs = [_config_of(folder) for folder in folders]
    flat = [_flat(config) for config in configs]
    keys = [key for key in flat[0] if any(each.get(key) != flat[0][key] for each in flat)]
    return [
        _Found(folder, config, {key: values[key] for key in keys})
        for folder, config, values in zip(folders, configs, flat, strict=True)
    ]


def _config_of(folder: Path) -> TrainConfig:
    directory = RunDirectory(folder, resume=True)
    if not directory.config.is_file():
        raise UserError(f"{folder} is not the directory of a run (no config.yaml); see runs=")
    if not is_trained(directory):
        raise UserError(
            f"{folder} is not trained to its end (see its status.json); finish it with "
            "run.if_exists=resume, or leave it out of runs="
        )
    return read_run_config(directory.config)


def _flat(config: TrainConfig) -> dict[str, Any]:
    """Dotted keys that decide about the figures, without the seed."""
    values = flatten(config.model_dump(mode="json"))
    idle = {f"{group}.{key}" for group, keys in IDLE_KEYS.items() for key in keys}
    return {k: v for k, v in values.items() if k.split(".")[0] not in OWN_KEYS and k not in idle}


def _named(found: Sequence[_Found]) -> dict[str, list[_Found]]:
    """The runs of each variant."""
    named: dict[str, list[_Found]] = defaultdict(list)
    short = _short_keys(found[0].varied)
    for run in found:
        parts = [f"{short[key]}-{_plain(value)}" for key, value in run.varied.items()]
        named["_".join(parts)[:LONGEST_NAME] or "all"].append(run)
    for name, runs in named.items():
        seeds = {run.config.seed: run.folder for run in reversed(runs)}
        if any(run.varied != runs[0].varied for run in runs):
            raise UserError(f"the names of variants are too long to tell them apart: {name}")
        for run in runs:
            if seeds[run.config.seed] != run.folder:
                raise UserError(
                    f"{seeds[run.config.seed]} and {run.folder} are the same variant and seed; "
                    "leave one out of runs="
                )
    return dict(named)


def _short_keys(varied: Mapping[str, Any]) -> dict[str, str]:
    """The last word of each key, or all of it where two end alike."""
    last = [key.split(".")[-1] for key in varied]
    return {k: s if last.count(s) == 1 else k for k, s in zip(varied, last, strict=True)}


def _plain(value: object) -> str:
    """For a folder's name: [4, 5] becomes 4-5."""
    return re.sub(r"[^\w.+]+", "-", str(value)).strip("-") or "none"


def _variant(name: str, runs: Sequence[_Found]) -> Variant:
    overrides = [f"{key}={value}" for key, value in runs[0].varied.items()]
    ordered = sorted(runs, key=lambda run: run.config.seed)
    return Variant(
        name,
        VariantConfig(overrides=overrides),
        {r.config.seed: Run(name, r.config.seed, r.config, r.config, r.folder) for r in ordered},
    )


def _study(config: CollectConfig, variants: Mapping[str, Variant], baseline: str) -> StudyConfig:
    return StudyConfig(
        name=config.name,
        title=config.title,
        source=None,
        baseline=baseline,
        variants={name: variant.settings for name, variant in variants.items()},
        only=None,
        seeds=sorted({seed for variant in variants.values() for seed in variant.runs}),
        jobs=config.jobs,
        budget=NO_BUDGET,
        timing_steps=config.timing_steps,
        confidence=config.confidence,
        resamples=config.resamples,
    )
