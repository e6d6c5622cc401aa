"""Compares two results files: by how much they differ, how sure that is, and on whom."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from cpn.config.evaluation_schema import CompareConfig
from cpn.evaluation import (
    GroundTruth,
    KeypointResult,
    category_skeleton,
    read_ground_truth,
    read_results_for,
)
from cpn.evaluation.bootstrap import Difference, paired_bootstrap
from cpn.evaluation.by_keypoint import match_subset
from cpn.evaluation.coco_keypoints import match_keypoints
from cpn.evaluation.diagnosis import diagnose
from cpn.evaluation.matching import Matches
from cpn.files.atomic import plain_json, write_json
from cpn.skeleton import Skeleton

logger = logging.getLogger(__name__)

Pair = tuple[list[KeypointResult], list[KeypointResult]]

NOTICEABLE = 0.05  # change of an OKS; one of COCO's thresholds


class PersonChange(NamedTuple):
    """One annotated person and the OKS of the result that is of them; 0 where there is none."""

    annotation_id: int
    image_id: int
    first: float
    second: float

    @property
    def change(self) -> float:
        """B - a."""
        return self.second - self.first


@dataclass(frozen=True)
class Comparison:
    """What `compare` finds.

    Attributes:
        metrics: the ten numbers.
        keypoints: AP of every keypoint.
        people: everyone who is to be found, the largest change first.
    """

    metrics: Mapping[str, Difference]
    keypoints: Mapping[str, Difference]
    people: Sequence[PersonChange]


def compare(config: CompareConfig) -> Comparison:
    """Prints the differences b - a with intervals and p-values, and writes all of it if asked to.

    Raises:
        UserError: a file is missing or broken, or the sigmas are not known.
    """
    truth = read_ground_truth(Path(config.annotations))
    skeleton = category_skeleton(truth, config.sigmas)
    pair = (
        read_results_for(truth, skeleton, Path(config.a)),
        read_results_for(truth, skeleton, Path(config.b)),
    )
    comparison = Comparison(
        metrics=_differences(config, *(_matches(truth, found, skeleton) for found in pair)),
        keypoints=_by_keypoint(config, truth, pair, skeleton),
        people=_changes(truth, pair, skeleton),
    )
    _show(config, comparison)
    if config.out is not None:
        write_json(Path(config.out), plain_json(_document(config, comparison)))
        logger.info("written: %s", config.out)
    return comparison


def _matches(truth: GroundTruth, found: list[KeypointResult], skeleton: Skeleton) -> Matches:
    evaluation = match_keypoints(truth, found, sigmas=skeleton.sigmas, engine="hotcoco")
    return evaluation.coco.matches()


def _differences(config: CompareConfig, first: Matches, second: Matches) -> dict[str, Difference]:
    return paired_bootstrap(
        first,
        second,
        resamples=config.resamples,
        confidence=config.confidence,
        seed=config.seed,
    )


def _by_keypoint(
    config: CompareConfig, truth: GroundTruth, pair: Pair, skeleton: Skeleton
) -> dict[str, Difference]:
    found = {}
    for k, name in enumerate(skeleton.keypoint_names):
        matches = [
            match_subset(truth, results, skeleton, (k,)).coco.matches().of_all_sizes()
            for results in pair
        ]
        found[name] = _differences(config, *matches)["AP"]
    return found


def _changes(truth: GroundTruth, pair: Pair, skeleton: Skeleton) -> list[PersonChange]:
    first, second = (diagnose(truth, results, skeleton).persons for results in pair)
    people = [
        PersonChange(a.annotation_id, a.image_id, a.oks, b.oks)
        for a, b in zip(first, second, strict=True)
    ]
    return sorted(people, key=lambda person: -abs(person.change))


def _show(config: CompareConfig, comparison: Comparison) -> None:
    console = Console(width=None if Console().is_terminal else 120)
    console.print(f"a: {config.a}\nb: {config.b}\non {config.annotations}", highlight=False)
    percent = f"{100 * config.confidence:.4g} % interval"
    for title, rows in (("", comparison.metrics), ("AP of", comparison.keypoints)):
        table = Table(title, "a", "b", "b - a", percent, "p-value")
        for name, row in rows.items():
            table.add_row(name, *_cells(row))
        console.print(table)
    _show_people(config, comparison, console)
    console.print(_verdict(comparison.metrics["AP"], config.confidence), highlight=False)


def _cells(row: Difference) -> list[str]:
    """As text; a dash is what there is no ground truth or, of one image, no interval for."""
    value, low, high = row.difference
    numbers = [_text(row.first, ".4f"), _text(row.second, ".4f"), _text(value, "+.4f")]
    interval = "-" if math.isnan(low) else f"{low:+.4f} {high:+.4f}"
    return [*numbers, interval, _text(row.p_value, ".2g")]


def _text(number: float, form: str) -> str:
    return "-" if math.isnan(number) else format(number, form)


def _show_people(config: CompareConfig, comparison: Comparison, console: Console) -> None:
    better = sum(person.change > NOTICEABLE for person in comparison.people)
    worse = sum(person.change < -NOTICEABLE for person in comparison.people)
    console.print(
        f"OKS changes by more than {NOTICEABLE} for {better + worse} of {len(comparison.people)}"
        f" people: {better} better, {worse} worse in b",
        highlight=False,
    )
    changed = [person for person in comparison.people[: config.most] if person.change]
    if not changed:
        return
    table = Table("annotation", "image", "OKS in a", "OKS in b", "b - a")
    for person in changed:
        oks = f"{person.first:.3f}", f"{person.second:.3f}", f"{person.change:+.3f}"
        table.add_row(str(person.annotation_id), str(person.image_id), *oks)
    console.print(table)


def _verdict(difference: Difference, confidence: float) -> str:
    """One sentence; a winner is named where the interval and the p-value both say so."""
    value, low, high = difference.difference
    if math.isnan(value):
        return "nothing to compare: nobody is to be found"
    if value == 0:
        return "no difference: AP is the same"
    told = f"AP differs by {abs(value):.4f} (p = {difference.p_value:.2g})"
    if math.isnan(low):
        return f"no difference shown: {told}; one image says nothing of others"
    if low <= 0 <= high or difference.p_value > 1 - confidence:
        return f"no difference shown: {told}, which may be chance"
    return f"{'b' if value > 0 else 'a'} is better: {told}, which chance hardly explains"


def _document(config: CompareConfig, comparison: Comparison) -> dict[str, Any]:
    return {
        "a": config.a,
        "b": config.b,
        "annotations": config.annotations,
        "resamples": config.resamples,
        "confidence": config.confidence,
        "metrics": {name: _numbers(row) for name, row in comparison.metrics.items()},
        "keypoints": {name: _numbers(row) for name, row in comparison.keypoints.items()},
        "people": [person._asdict() | {"change": person.change} for person in comparison.people],
    }


def _numbers(row: Difference) -> dict[str, float]:
    value, low, high = row.difference
    numbers = {"a": row.first, "b": row.second, "difference": value, "low": low, "high": high}
    return numbers | {"p_value": row.p_value}
