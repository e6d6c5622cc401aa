"""Fills the report of an evaluation from its analysis."""

import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cpn.engine.events import EventWriter
from cpn.evaluation.analysis import Analysis
from cpn.evaluation.coco_keypoints import COCO_METRICS
from cpn.evaluation.diagnosis import Mistake
from cpn.evaluation.diagnosis import Slice as PeopleSlice
from cpn.evaluation.matching import RECALLS
from cpn.report.data import (
    Calibration,
    Curve,
    CurveGroup,
    ErrorBreakdown,
    ErrorType,
    Figure,
    KeypointRow,
    KeypointType,
    ReliabilityBin,
    ReportData,
    Section,
    Slice,
)
from cpn.tasks.evaluation.gallery import gallery_items

FEW_IMAGES = 30  # of fewer, percentiles of resamples do not reach as far as chance does
AREAS = {"all": "AP", "medium": "APM", "large": "APL"}

MEANINGS = {
    Mistake.JITTER: "keypoints near the right place (similarity 0.5 to 0.85)",
    Mistake.INVERSION: "keypoints on the same person's other side",
    Mistake.SWAP: "keypoints on another person",
    Mistake.MISS: "keypoints near no place where they could belong",
    Mistake.SCORE: "people with a better result of a lower score; fixed: all in order of OKS",
    Mistake.FALSE_POSITIVE: "results on the background, and further results of a person",
    Mistake.FALSE_NEGATIVE: "people without a result; fixed: they are not looked for",
}


@dataclass(frozen=True)
class Background:
    """What the report says beside the analysis.

    Attributes:
        title: of the page.
        box_source: where the person boxes come from.
        confidence: of the intervals.
        resamples: for them.
        photos: image id to file.
        facts: about model and data.
        extra: further numbers for the headline.
        calibration: see `calibration_report`; None: not computed.
        scores: which ones are calibrated, say "rescaled".
    """

    title: str
    box_source: str
    confidence: float
    resamples: int
    photos: Mapping[int, Path]
    facts: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, float] = field(default_factory=dict)
    calibration: Mapping[str, Any] | None = None
    scores: str = "as predicted"


def report_data(analysis: Analysis, background: Background) -> ReportData:
    """The report of an analysis, dated now."""
    diagnosis = analysis.diagnosis
    return ReportData(
        title=background.title,
        created=datetime.now(UTC).astimezone(),
        command_line=shlex.join(["python", *sys.argv]),
        box_source=background.box_source,
        skeleton=diagnosis.skeleton,
        num_images=len(diagnosis.truth.image_ids),
        num_people=diagnosis.counts.people,
        num_detections=diagnosis.counts.detections,
        headline=_headline(analysis, background.extra),
        interval_note=_interval_note(analysis, background),
        facts=background.facts,
        curves=_curves(analysis),
        keypoints=[
            _row(analysis, name, metrics, [k])
            for k, (name, metrics) in enumerate(analysis.keypoints.items())
        ],
        parts=_parts(analysis),
        errors=_errors(analysis),
        slices=[_slice(part) for part in analysis.slices if part.num_people],
        calibration=_calibration(background.calibration, background.scores),
        gallery=list(gallery_items(diagnosis, background.photos)),
        why_missing=_why_missing(analysis),
    )


def write_evaluation_report(analysis: Analysis, background: Background, out: Path) -> list[Path]:
    """Writes the page beside a metrics file, and the same figures for TensorBoard.

    Args:
        analysis: what is shown.
        background: what else.
        out: the metrics file.

    Returns:
        The page, and TensorBoard's folder, where another evaluation to the same file is replaced.
    """
    # Drawing takes a second to import.
    from cpn.report.page import write_report  # noqa: PLC0415
    from cpn.report.tensorboard import log_report  # noqa: PLC0415

    data = report_data(analysis, background)
    page, events = out.with_suffix(".html"), out.parent / "tensorboard" / out.stem
    write_report(data, page)
    log_report(data, EventWriter(events, first_step=0), step=0)
    return [page, events]


def _headline(analysis: Analysis, extra: Mapping[str, float]) -> dict[str, Figure]:
    figures = {}
    for name in COCO_METRICS:
        interval = analysis.intervals.get(name)
        if interval is None or math.isnan(interval.low):
            figures[name] = Figure(analysis.metrics[name])
        else:
            figures[name] = Figure(*interval)
    return figures | {name: Figure(value) for name, value in extra.items()}


def _interval_note(analysis: Analysis, background: Background) -> str | None:
    ends = [interval.low for interval in analysis.intervals.values()]
    if not ends or math.isnan(analysis.metrics["AP"]):
        return None
    if all(map(math.isnan, ends)):
        return "No intervals: one image says nothing of others"
    few = len(analysis.diagnosis.truth.image_ids) < FEW_IMAGES
    return (
        f"{100 * background.confidence:.4g} % intervals: bootstrap over images,"
        f" {background.resamples:,} resamples"
    ) + ("; of so few images they are too short" if few else "")


def _curves(analysis: Analysis) -> list[CurveGroup]:
    precisions = analysis.matches.precisions()
    thresholds = analysis.matches.thresholds
    if np.isnan(precisions[0]).all():
        return []
    by_threshold = [
        Curve(f"OKS {threshold:.2f}", RECALLS, values, float(values.mean()))
        for threshold, values in zip(thresholds, precisions[0], strict=True)
    ]
    by_area = [
        Curve(name, RECALLS, values.mean(axis=0), float(values.mean()))
        for name, values in zip(AREAS, precisions, strict=True)
        if not np.isnan(values).any()
    ]
    return [
        CurveGroup("by OKS threshold", by_threshold),
        CurveGroup("by area of the person, mean over the thresholds", by_area),
    ]


def _row(
    analysis: Analysis, name: str, metrics: Mapping[str, float], keypoints: Sequence[int]
) -> KeypointRow:
    counts = analysis.diagnosis.counts.keypoints
    return KeypointRow(
        name,
        {area: Figure(metrics[metric]) for area, metric in AREAS.items()},
        pck=analysis.pck.get(name),
        counts={
            KeypointType(kind.name.lower()): int(numbers[list(keypoints)].sum())
            for kind, numbers in counts.items()
        },
    )


def _parts(analysis: Analysis) -> list[KeypointRow]:
    return [
        _row(analysis, name, metrics, analysis.part_indices[name])
        for name, metrics in analysis.parts.items()
    ]


def _errors(analysis: Analysis) -> ErrorBreakdown | None:
    base = analysis.fixes.baseline["AP"]
    if math.isnan(base):
        return None
    types = [
        ErrorType(
            str(fix.mistake).replace("_", " "),
            analysis.count(fix.mistake),
            fix.alone["AP"],
            MEANINGS[fix.mistake],
            fix.progressive["AP"],
        )
        for fix in analysis.fixes.fixes
    ]
    return ErrorBreakdown(types, base, "AP over OKS 0.50 to 0.95, people of all sizes")


def _slice(part: PeopleSlice) -> Slice:
    return Slice(
        part.name.replace("_", " "),
        _bounds(part),
        part.num_people,
        Figure(part.metrics["AP"]),
        part.mean_oks,
    )


def _bounds(part: PeopleSlice) -> str:
    if part.name.endswith("_keypoints"):
        return _numbers(part)
    low, high = (_bound(part.name, value) for value in (part.low, part.high))
    if math.isinf(part.low):
        return f"below {high}"
    return f"{low} or more" if math.isinf(part.high) else f"{low} to {high}"


def _numbers(part: PeopleSlice) -> str:
    """Whole numbers, both ends included: a slice with 6 <= n < 11 has 6 to 10 keypoints."""
    if math.isinf(part.low):
        return f"up to {part.high - 1:.0f}"
    if math.isinf(part.high):
        return f"{part.low:.0f} or more"
    first, last = round(part.low), round(part.high) - 1
    return f"{first}" if first == last else f"{first} to {last}"


def _bound(name: str, value: float) -> str:
    """Areas by the side of a square, as COCO's classes are known: 32^2, 96^2."""
    is_area = name == "box_area" and math.isfinite(value)
    return f"{math.sqrt(value):.4g}\u00b2" if is_area else f"{value:.3g}"


def _calibration(report: Mapping[str, Any] | None, scores: str) -> list[Calibration]:
    if report is None or not report["poses"]:
        return []
    bins = [
        ReliabilityBin(one["low"], one["high"], one["poses"], one["mean_score"], one["mean_oks"])
        for one in report["bins"]
    ]
    rescaled = report["rescaled_error"]
    left = None if math.isnan(rescaled) else rescaled
    return [Calibration(scores, bins, report["expected_calibration_error"], left)]


def _why_missing(analysis: Analysis) -> dict[Section, str]:
    if math.isnan(analysis.metrics["AP"]):
        return dict.fromkeys((Section.CURVES, Section.ERRORS), "Nobody is to be found.")
    return {}
