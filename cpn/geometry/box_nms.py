"""Box suppression: of boxes on one person the best stays (hard), or the others count less (soft).

Soft-NMS is Bodla et al., "Soft-NMS: Improving Object Detection With One Line of Code", ICCV 2017,
section 3. Boxes are (N, 4) x0, y0, x1, y1 in the edge frame, of one image.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from torchvision.ops import nms

FloatArray = npt.NDArray[np.float64]
SoftMethod = Literal["linear", "gaussian"]


class KeptBoxes(NamedTuple):
    """What is left of N boxes.

    Attributes:
        indices: (M,) positions of the kept boxes, best first.
        scores: (M,) their scores, which soft suppression lowers.
    """

    indices: npt.NDArray[np.intp]
    scores: FloatArray


def hard_box_nms(boxes_xyxy: FloatArray, scores: FloatArray, *, threshold: float) -> KeptBoxes:
    """Keeps the best box, drops those that overlap it by more than the threshold, and so on.

    Args:
        boxes_xyxy: (N, 4).
        scores: (N,).
        threshold: highest IoU, 0..1, that may remain between two boxes.
    """
    kept = nms(torch.from_numpy(boxes_xyxy), torch.from_numpy(scores), threshold).numpy()
    return KeptBoxes(kept.astype(np.intp), scores[kept])


def soft_box_nms(
    boxes_xyxy: FloatArray,
    scores: FloatArray,
    *,
    method: SoftMethod,
    threshold: float,
    sigma: float,
    floor: float,
) -> KeptBoxes:
    """Takes the best box, lowers the scores of the others by their overlap with it, and so on.

    Args:
        boxes_xyxy: (N, 4).
        scores: (N,); of equal ones the first comes first.
        method: "linear": times 1 - IoU where the IoU is above the threshold; "gaussian": times
            exp(-IoU^2 / sigma).
        threshold: of "linear".
        sigma: of "gaussian", above 0.
        floor: boxes whose score falls below it are dropped, and never lower another's.

    Raises:
        ValueError: the method is unknown.
    """
    if method not in get_args(SoftMethod):
        raise ValueError(f"soft-NMS '{method}' is unknown; known: {list(get_args(SoftMethod))}")
    left = np.flatnonzero(scores >= floor)
    lowered = scores[left]
    kept: list[np.intp] = []
    kept_scores: list[float] = []
    while len(left):
        best = int(lowered.argmax())
        kept.append(left[best])
        kept_scores.append(float(lowered[best]))
        others = np.arange(len(left)) != best
        overlaps = box_iou(boxes_xyxy[kept[-1]], boxes_xyxy[left[others]])
        lowered = lowered[others] * _decay(overlaps, method, threshold, sigma)
        left = left[others][lowered >= floor]
        lowered = lowered[lowered >= floor]
    return KeptBoxes(np.array(kept, dtype=np.intp), np.array(kept_scores))


def box_iou(box_xyxy: FloatArray, others_xyxy: FloatArray) -> FloatArray:
    """(N,) intersections over unions of one box (4,) with others (N, 4); 0 for empty boxes."""
    low = np.maximum(box_xyxy[:2], others_xyxy[:, :2])
    high = np.minimum(box_xyxy[2:], others_xyxy[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    areas = (others_xyxy[:, 2:] - others_xyxy[:, :2]).prod(axis=1)
    union = areas + (box_xyxy[2:] - box_xyxy[:2]).prod() - shared
    return np.asarray(shared / np.where(union > 0, union, 1))


def _decay(overlaps: FloatArray, method: SoftMethod, threshold: float, sigma: float) -> FloatArray:
    if method == "linear":
        return np.where(overlaps > threshold, 1 - overlaps, 1.0)
    return np.asarray(np.exp(-(overlaps**2) / sigma))
