"""Object keypoint similarity, as the COCO keypoint evaluation and OKS-NMS define it.

Both are the mean of exp(-d_k^2 / (2 s^2 (2 sigma_k)^2)) over keypoints (cocodataset.org,
"Keypoint Evaluation"); they differ in the scale s^2 and in the keypoints that count.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
EPSILON = float(np.spacing(1))


def oks(
    ground_truths: FloatArray,
    points: FloatArray,
    *,
    areas: FloatArray,
    boxes_xywh: FloatArray,
    sigmas: Sequence[float],
) -> FloatArray:
    """Similarity of predictions with ground truths; equals pycocotools' computeOks.

    A ground truth without labelled keypoints is matched by its box: distances are those to the
    box grown by its own size on every side (COCO's ignore regions).

    Args:
        ground_truths: (G, K, 3) x, y in pixels and visibility; keypoints with v > 0 count.
        points: (D, K, 2) predicted x, y in the same frame.
        areas: (G,) segment areas in square pixels, the squared scale.
        boxes_xywh: (G, 4) boxes of the ground truths.
        sigmas: K per-keypoint constants.

    Returns:
        (D, G) similarities in 0..1.
    """
    labelled = ground_truths[..., 2] > 0
    unlabelled: NDArray[np.bool_] = np.logical_not(labelled.any(axis=1))
    counted = labelled | unlabelled[:, None]
    to_keypoints = points[:, None] - ground_truths[None, :, :, :2]
    to_boxes = _outside_grown_box(points, boxes_xywh)
    offsets = np.where(unlabelled[None, :, None, None], to_boxes, to_keypoints)
    exponents = _exponents(offsets, sigmas, areas[None, :] + EPSILON)
    similarities = np.where(counted[None], np.exp(-exponents), 0.0)
    return np.asarray(similarities.sum(axis=-1) / counted.sum(axis=-1))


def pose_overlap(
    points: FloatArray,
    others: FloatArray,
    *,
    area: float,
    other_areas: FloatArray,
    sigmas: Sequence[float],
) -> FloatArray:
    """Similarity of one predicted pose with others, the overlap that OKS-NMS uses.

    All keypoints count; the squared scale is the mean of the two areas.

    Args:
        points: (K, 2) pose.
        others: (N, K, 2) poses in the same frame.
        area: area of the pose in square pixels.
        other_areas: (N,) areas of the others.
        sigmas: K per-keypoint constants.

    Returns:
        (N,) similarities in 0..1.
    """
    scales = (area + other_areas) / 2 + EPSILON
    return np.asarray(np.exp(-_exponents(others - points, sigmas, scales)).mean(axis=-1))


def keypoint_similarities(
    offsets: FloatArray, *, areas: FloatArray, sigmas: Sequence[float]
) -> FloatArray:
    """The summand of OKS for each keypoint, exp(-d^2 / (2 s^2 (2 sigma)^2)).

    Args:
        offsets: (..., K, 2) from true to predicted keypoints in pixels.
        areas: (...) segment areas of the persons in square pixels, the squared scale.
        sigmas: K per-keypoint constants.

    Returns:
        (..., K) similarities in 0..1.
    """
    return np.asarray(np.exp(-_exponents(offsets, sigmas, areas + EPSILON)))


def _exponents(offsets: FloatArray, sigmas: Sequence[float], scales: FloatArray) -> FloatArray:
    """d^2 / (2 s^2 (2 sigma)^2): (..., K) from offsets (..., K, 2) and scales (...)."""
    variances = (2 * np.asarray(sigmas, dtype=np.float64)) ** 2
    with np.errstate(over="ignore"):  # a point at 1e300 has similarity 0, not a warning
        squares = (offsets**2).sum(axis=-1)
        return np.asarray(squares / variances / scales[..., None] / 2)


def _outside_grown_box(points: FloatArray, boxes_xywh: FloatArray) -> FloatArray:
    """(D, G, K, 2) distances per axis from the points to boxes of three times the size."""
    corner, size = boxes_xywh[None, :, None, :2], boxes_xywh[None, :, None, 2:]
    low, high = corner - size, corner + 2 * size
    before = np.maximum(0.0, low - points[:, None])
    return np.asarray(before + np.maximum(0.0, points[:, None] - high))
