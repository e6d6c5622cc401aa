"""From the files of a study to its outcome."""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cpn.ablation.conclusions import Pair, conclusions, published_pairs
from cpn.ablation.costs import VariantCost
from cpn.ablation.folders import StudyFolders
from cpn.ablation.ledger import Entry, Key, Ledger
from cpn.ablation.outcome import Curve, Estimate, Gap, StudyOutcome, VariantOutcome
from cpn.ablation.results import RunFigures, same_images
from cpn.ablation.statistics import Figures, adjusted, estimate, gap
from cpn.ablation.subject import Wording
from cpn.config.study_schema import PublishedFigure, StudyConfig, VariantConfig
from cpn.errors import UserError


def study_outcome(
    study: StudyConfig, folders: StudyFolders, facts: Mapping[str, str], *, wording: Wording
) -> StudyOutcome:
    """What is known of a study by now, by whichever processes.

    Args:
        study: baseline, published figures, statistics.
        folders: where the files are.
        facts: for the head of the table.
        wording: of the table.

    Raises:
        UserError: a file is damaged, or runs were evaluated on different images.
    """
    by_variant: dict[str, list[Entry]] = defaultdict(list)
    for entry in Ledger(folders.study).entries().values():
        by_variant[entry.variant].append(entry)
    # In the order of the study's file; what is no longer in it comes last.
    names = [*(name for name in study.variants if name in by_variant), *by_variant]
    ordered = {name: by_variant[name] for name in dict.fromkeys(names)}
    comparison = _Comparison.of(study, folders, ordered)
    variants, pairs = comparison.outcomes()
    return StudyOutcome(
        name=folders.name,
        title=study.title,
        source=study.source,
        baseline=study.baseline,
        variants=tuple(variants),
        facts=facts,
        wording=wording,
        confidence=study.confidence,
        is_complete=all(e.state in {"done", "cut"} for each in ordered.values() for e in each)
        and not comparison.lost,
        conclusions=conclusions(variants, study.baseline, pairs),
    )


@dataclass(frozen=True)
class _Comparison:
    """The variants of a study beside each other.

    Attributes:
        study: as configured.
        folders: where the files are.
        entries: of the ledger, by variant.
        figures: of the variants that have finished runs.
        names: of the numbers, AP first.
        keypoints: names of the keypoints.
        lost: runs that are done, but whose figures are damaged or of other resamples.
    """

    study: StudyConfig
    folders: StudyFolders
    entries: Mapping[str, Sequence[Entry]]
    figures: Mapping[str, Figures]
    names: tuple[str, ...]
    keypoints: tuple[str, ...]
    lost: frozenset[Key]

    @classmethod
    def of(
        cls, study: StudyConfig, folders: StudyFolders, entries: Mapping[str, Sequence[Entry]]
    ) -> "_Comparison":
        done = [e for each in entries.values() for e in each if e.state == "done"]
        loaded = {e.key: _figures(folders, e, study.resamples) for e in done}
        runs = {key: figures for key, figures in loaded.items() if figures is not None}
        if not same_images(list(runs.values())):
            raise UserError(
                f"{folders.study}: its runs were evaluated on different images or people and "
                "cannot be compared; choose another study.name="
            )
        figures = {
            name: joined
            for name, each in entries.items()
            if (joined := _joined(each, runs)) is not None
        }
        named = [(run.names, run.keypoints) for run in runs.values()]
        names, keypoints = named[0] if named else ((), ())
        lost = frozenset(loaded.keys() - runs.keys())
        return cls(study, folders, entries, figures, names, keypoints, lost)

    def outcomes(self) -> tuple[list[VariantOutcome], list[Pair]]:
        """The rows, and the pairs that the paper puts in an order."""
        gaps = adjusted({n: g for n in self.entries if (g := self._to_baseline(n, 0)) is not None})
        rows = [replace(self._row(name), gap=gaps.get(name)) for name in self.entries]
        pairs = [
            Pair(lower, higher, self._gap(higher, lower, 0))
            for lower, higher in published_pairs(rows)
        ]
        return rows, pairs

    def _row(self, name: str) -> VariantOutcome:
        entries, figures = self.entries[name], self.figures.get(name)
        published = _published(self.study.variants.get(name))
        cost = _cost(self.folders.cost(name, entries[0].timed))
        return VariantOutcome(
            name=name,
            overrides=tuple(entries[0].overrides),
            seeds=() if figures is None else figures.seeds,
            metrics=self._metrics(figures),
            gap=None,
            keypoints=self._by_keypoint(name),
            curves=tuple(_curve(entry) for entry in entries if entry.state == "done"),
            cost=None if cost is None else cost.cost,
            published_ap=published.ap,
            published_gflops=published.gflops,
            epochs=entries[0].epochs,
            notes=tuple(_notes(entries, self.lost)),
        )

    def _metrics(self, figures: Figures | None) -> dict[str, Estimate]:
        if figures is None:
            return {}
        confidence = self.study.confidence
        return {
            metric: estimate(figures, number, confidence=confidence)
            for number, metric in enumerate(self.names)
        }

    def _by_keypoint(self, name: str) -> dict[str, Gap]:
        gaps = {
            keypoint: self._to_baseline(name, number)
            for number, keypoint in enumerate(self.keypoints, start=len(self.names))
        }
        return {keypoint: found for keypoint, found in gaps.items() if found is not None}

    def _to_baseline(self, name: str, number: int) -> Gap | None:
        baseline = self.study.baseline
        if name == baseline or not {name, baseline} <= self.figures.keys():
            return None
        return self._gap(name, baseline, number)

    def _gap(self, name: str, other: str, number: int) -> Gap:
        return gap(
            self.figures[name],
            self.figures[other],
            number,
            confidence=self.study.confidence,
        )


def _joined(entries: Sequence[Entry], runs: Mapping[Key, RunFigures]) -> Figures | None:
    done = sorted((e for e in entries if e.key in runs), key=lambda e: e.seed)
    if not done:
        return None
    return Figures(
        seeds=tuple(e.seed for e in done),
        trainings=tuple(e.training for e in done),
        values=np.stack([runs[e.key].values for e in done]),
        resampled=np.stack([runs[e.key].resampled for e in done]),
        telling=min(runs[e.key].telling for e in done),
    )


def _published(variant: VariantConfig | None) -> PublishedFigure:
    """Nothing of a variant that is no longer in the study's file."""
    return PublishedFigure() if variant is None else variant.published


def _figures(folders: StudyFolders, entry: Entry, resamples: int) -> RunFigures | None:
    """None if they are damaged, gone or of another number of resamples: made again when run."""
    try:
        figures = RunFigures.load(folders.figures(*entry.key))
    except (FileNotFoundError, UserError):
        return None
    return figures if len(figures.resampled) == resamples else None


def _cost(path: Path) -> VariantCost | None:
    try:
        return VariantCost.load(path)
    except FileNotFoundError:
        return None


def _notes(entries: Sequence[Entry], lost: Collection[Key]) -> list[str]:
    first = entries[0]
    told = []
    if first.epochs < first.asked_epochs:
        told.append(f"cut by the budget: {first.epochs} of {first.asked_epochs} epochs")
    told += dict.fromkeys(entry.message for entry in entries if entry.state == "cut")
    told += [f"seed {e.seed} failed: {e.message}" for e in entries if e.state == "failed"]
    told += [f"seed {e.seed} is to be evaluated again" for e in entries if e.key in lost]
    return told


def _curve(entry: Entry) -> Curve:
    """From the training's log; empty where it was not kept."""
    loss, ap = [], []
    path = Path(entry.folder) / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    records = [record for line in lines if (record := _record(line)) is not None]
    last = max((r["step"] for r in records), default=1)
    for record in records:
        epoch = record["step"] / last * entry.epochs
        if record["kind"] == "train" and record["loss"] is not None:
            loss.append((epoch, record["loss"]))
        elif record["kind"] == "eval" and record.get("AP") is not None:
            ap.append((epoch, record["AP"]))
    return Curve(entry.seed, tuple(loss), tuple(ap))


def _record(line: str) -> dict[str, Any] | None:
    """None of a line that a crash cut off."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
