"""Detected boxes of the same person: which of them are cropped, and how sure they are."""

import logging
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from cpn.data.persons import PersonInstances
from cpn.errors import UserError
from cpn.geometry.box_nms import FloatArray, KeptBoxes, hard_box_nms, soft_box_nms
from cpn.geometry.boxes import xywh_to_xyxy

logger = logging.getLogger(__name__)

BoxNms = Literal["none", "hard", "soft", "soft_linear"]


def suppress_repeated_boxes(
    boxes: PersonInstances,
    *,
    method: BoxNms,
    threshold: float = 0.5,
    sigma: float = 0.5,
    floor: float = 0.001,
) -> PersonInstances:
    """Drops repeated boxes photo by photo, or lowers their scores.

    Args:
        boxes: detections of any photos.
        method: "none" returns them as they are; "hard" drops boxes by `hard_box_nms`; "soft" and
            "soft_linear" lower scores by `soft_box_nms`, Gaussian and linear.
        threshold: IoU, of "hard" and "soft_linear".
        sigma: of "soft".
        floor: "soft" and "soft_linear" drop boxes whose score falls below it.

    Returns:
        The kept boxes in their old order, with their new scores. How many were dropped is logged.

    Raises:
        ValueError: the method is unknown.
        UserError: every score is below the floor.
    """
    if method not in get_args(BoxNms):
        raise ValueError(f"box NMS '{method}' is unknown; known: {list(get_args(BoxNms))}")
    if method == "none":
        return boxes
    scores = np.zeros(len(boxes))
    kept = np.zeros(len(boxes), dtype=bool)
    order = np.argsort(boxes.image_ids, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(boxes.image_ids[order])) + 1):
        corners = xywh_to_xyxy(boxes.boxes_xywh[rows])
        found = _suppressed(corners, boxes.box_scores[rows], method, threshold, sigma, floor)
        kept[rows[found.indices]] = True
        scores[rows[found.indices]] = found.scores
    if not kept.any():
        raise UserError(
            f"detections.nms={method} leaves no box: the best score is {boxes.box_scores.max():g}, "
            f"and detections.nms_floor is {floor:g}; lower it"
        )
    logger.info("box NMS (%s): %d of %d boxes are left", method, kept.sum(), len(boxes))
    return replace(boxes, box_scores=scores).keep(kept)


def _suppressed(
    corners: FloatArray,
    scores: FloatArray,
    method: BoxNms,
    threshold: float,
    sigma: float,
    floor: float,
) -> KeptBoxes:
    if method == "hard":
        return hard_box_nms(corners, scores, threshold=threshold)
    return soft_box_nms(
        corners,
        scores,
        method="gaussian" if method == "soft" else "linear",
        threshold=threshold,
        sigma=sigma,
        floor=floor,
    )
