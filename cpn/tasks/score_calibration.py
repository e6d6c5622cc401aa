"""Calibration of an evaluation's person scores."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cpn.evaluation.calibration import Rescaling, calibration_report, matched_oks
from cpn.tasks.pose_evaluation import PoseScorer


class Calibration(NamedTuple):
    """How far scores are the OKS to be expected.

    Attributes:
        report: see `calibration_report`.
        rescaling: what would make them so, fitted to these people; None: nobody was found.
    """

    report: dict[str, Any]
    rescaling: Rescaling | None


def calibrate(scorer: PoseScorer, results: Sequence[Mapping[str, Any]]) -> Calibration:
    """Compares the scores of COCO results with the OKS that they came to.

    Args:
        scorer: of the evaluation.
        results: after NMS, as its `PoseEvaluation` has them.
    """
    sigmas, mode = scorer.people.skeleton.sigmas, scorer.postprocess.score
    image_ids = np.array([result["image_id"] for result in results], dtype=np.int64)
    scores = np.array([result["score"] for result in results], dtype=np.float64)
    triples = np.array([result["keypoints"] for result in results], dtype=np.float64)
    points = triples.reshape(len(results), len(sigmas), 3)[..., :2]
    qualities = matched_oks(scorer.evaluated_truth(), image_ids, points, scores, sigmas=sigmas)
    counted = np.isfinite(qualities)
    report = calibration_report(scores, qualities, image_ids, score=mode)
    if not counted.any():
        return Calibration(report, None)
    return Calibration(report, Rescaling.fit(mode, scores[counted], qualities[counted]))
