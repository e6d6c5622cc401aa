"""Calibration of an evaluation's person scores."""

from typing import Any, NamedTuple

import numpy as np

from cpn.evaluation.calibration import Rescaling, calibration_report, result_qualities
from cpn.evaluation.diagnosis import Diagnosis


class Calibration(NamedTuple):
    """How far scores are the OKS to be expected.

    Attributes:
        report: see `calibration_report`.
        rescaling: what would make them so, fitted to these people; None: nobody was found.
    """

    report: dict[str, Any]
    rescaling: Rescaling | None


def calibrate(diagnosis: Diagnosis, mode: str) -> Calibration:
    """Compares the scores of results with the OKS that they came to.

    Args:
        diagnosis: of the results.
        mode: how they were scored.
    """
    found, qualities = diagnosis.detections, result_qualities(diagnosis)
    counted = np.isfinite(qualities)
    report = calibration_report(found.scores, qualities, found.image_ids, score=mode)
    if not counted.any():
        return Calibration(report, None)
    return Calibration(report, Rescaling.fit(mode, found.scores[counted], qualities[counted]))
