"""What an evaluation leaves behind: the metrics file with its analysis, and the report."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cpn.config.evaluation_schema import FinalEvaluationConfig
from cpn.evaluation.analysis import Analysis
from cpn.evaluation.diagnosis import Diagnosis
from cpn.files.atomic import plain_json, write_json
from cpn.tasks.evaluation.report import Background, write_evaluation_report

logger = logging.getLogger(__name__)


def write_evaluation(
    config: FinalEvaluationConfig,
    diagnosis: Diagnosis,
    out: Path,
    *,
    document: Mapping[str, Any],
    background: Background,
) -> list[Path]:
    """Writes the metrics file and, where it is asked for, analyses the results and reports.

    Args:
        config: says whether to report, and how sure the intervals are to be.
        diagnosis: of the results.
        out: the metrics file; the report goes beside it.
        document: the numbers for that file; calibration and analysis are added.
        background: of the report.

    Returns:
        What was written.
    """
    figures: dict[str, Any] = {"calibration": background.calibration}
    written: list[Path] = []
    if config.report:
        analysis = Analysis.of(diagnosis, resamples=config.resamples, confidence=config.confidence)
        _tell_interval(analysis, config.confidence)
        written = write_evaluation_report(analysis, background, out)
        figures["analysis"] = analysis.to_dict()
    write_json(out, plain_json({**document, **figures}))
    return [out, *written]


def format_metrics(metrics: Mapping[str, float]) -> str:
    """One line of names over one line of values."""
    width = max(7, *(len(name) + 1 for name in metrics))
    names = "".join(f"{name:>{width}}" for name in metrics)
    values = "".join(
        f"{'-':>{width}}" if math.isnan(value) else f"{value:>{width}.4f}"
        for value in metrics.values()
    )
    return f"{names}\n{values}"


def _tell_interval(analysis: Analysis, confidence: float) -> None:
    interval = analysis.intervals.get("AP")
    if interval is not None and not math.isnan(interval.low):
        logger.info(
            "AP %.4f, %.4g %% interval %.4f to %.4f (bootstrap over images)",
            interval.value,
            100 * confidence,
            interval.low,
            interval.high,
        )
