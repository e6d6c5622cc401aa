"""What a study has found: the data of its table and its page."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cpn.ablation.subject import Wording


class Estimate(NamedTuple):
    """A mean over seeds with its interval over seeds and images; ends are NaN if unknown."""

    value: float
    low: float
    high: float


class Gap(NamedTuple):
    """How much a variant differs from the baseline.

    Attributes:
        value: variant - baseline, of the means over seeds.
        low: end of its interval over seeds and images.
        high: the other end.
        p_value: how often equal variants would differ that much or more; NaN if unknown.
        adjusted: the p-value, raised for the number of variants compared (Holm, 1979).
    """

    value: float
    low: float
    high: float
    p_value: float
    adjusted: float


@dataclass(frozen=True)
class Cost:
    """What a variant costs, each measured in a process of its own while nothing else was trained.

    Attributes:
        parameters: weights.
        gflops: billions of multiply-adds for one person or photo, as papers count.
        training_rate: images per second in training, reading included.
        latency_ms: for one person, of the network without flip test; or from photo to boxes.
        memory_mib: peak of a training process; of its memory on a GPU.
    """

    parameters: int
    gflops: float
    training_rate: float
    latency_ms: float
    memory_mib: float


@dataclass(frozen=True)
class Curve:
    """How one run went.

    Attributes:
        seed: of the run.
        loss: (epoch, training loss) with fractions of an epoch.
        ap: (epoch, AP) of the evaluations on the way.
    """

    seed: int
    loss: tuple[tuple[float, float], ...]
    ap: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class VariantOutcome:
    """One row of the table.

    Attributes:
        name: of the variant.
        overrides: what it changes.
        seeds: whose runs are done, ascending.
        metrics: the COCO numbers by name, from AP on; empty before the first run is done.
        gap: of AP to the baseline; None for the baseline, and where one of them has no run.
        keypoints: by keypoint name, how much its AP differs from the baseline's; p-values are not
            adjusted for the number of keypoints.
        curves: one per run, by seed.
        cost: None where it was not measured.
        published_ap: of the paper, in percent.
        published_gflops: of the paper.
        epochs: of its runs.
        notes: what a budget cut, and which seeds failed and why; one line each.
    """

    name: str
    overrides: tuple[str, ...]
    seeds: tuple[int, ...]
    metrics: Mapping[str, Estimate]
    gap: Gap | None
    keypoints: Mapping[str, Gap]
    curves: tuple[Curve, ...]
    cost: Cost | None
    published_ap: float | None
    published_gflops: float | None
    epochs: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StudyOutcome:
    """What is known of a study so far.

    Attributes:
        name: of its folder.
        title: heads the table.
        source: of the published figures; None without.
        baseline: name of the variant that the others are compared with.
        variants: in the order of the study's file.
        facts: data, boxes, shared overrides, machine: by name, for the head of the table.
        wording: what AP and costs are of.
        confidence: of all intervals.
        is_complete: whether every run is done, or was cut by a budget.
        conclusions: what can be said, in sentences.
    """

    name: str
    title: str
    source: str | None
    baseline: str
    variants: tuple[VariantOutcome, ...]
    facts: Mapping[str, str]
    wording: Wording
    confidence: float
    is_complete: bool
    conclusions: tuple[str, ...] = ()
