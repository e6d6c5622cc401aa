"""Scoring of predictions: OKS average precision, detector AP, PCK.

Frame: keypoints are image pixels, integer = pixel centre; boxes are COCO's x, y, width, height.
Legend: N predictions, G ground truths, D detections, K keypoints.
"""

from cpn.evaluation.coco_boxes import BOX_METRICS, evaluate_boxes
from cpn.evaluation.coco_keypoints import (
    COCO_METRICS,
    category_skeleton,
    evaluate_keypoints,
    read_results_for,
    score_results_file,
)
from cpn.evaluation.ground_truth import GroundTruth, read_ground_truth
from cpn.evaluation.predictions import PosePredictions, check_complete
from cpn.evaluation.results import (
    KeypointResult,
    read_results,
    to_coco_results,
    write_results,
)

__all__ = [
    "BOX_METRICS",
    "COCO_METRICS",
    "GroundTruth",
    "KeypointResult",
    "PosePredictions",
    "category_skeleton",
    "check_complete",
    "evaluate_boxes",
    "evaluate_keypoints",
    "read_ground_truth",
    "read_results",
    "read_results_for",
    "score_results_file",
    "to_coco_results",
    "write_results",
]
