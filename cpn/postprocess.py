"""From predicted points to scored, non-repeating persons: rescoring and OKS-NMS.

The score modes and both suppressions follow mmpose's CocoMetric, whose OKS-NMS is HRNet's.
"""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cpn.errors import UserError
from cpn.evaluation.oks import pose_overlap
from cpn.evaluation.predictions import PosePredictions

FloatArray = NDArray[np.float64]
Indices = NDArray[np.intp]
ScoreMode = Literal[
    "box_keypoint", "box_rle", "box", "keypoint", "box_mean", "box_max", "keypoint_max"
]
NmsMethod = Literal["none", "oks", "soft_oks"]
MAX_SCORED = 20  # COCO's keypoint evaluation looks at 20 persons per image


def rescore(
    predictions: PosePredictions, *, mode: ScoreMode, keypoint_threshold: float = 0.2
) -> FloatArray:
    """Scores of whole persons.

    Args:
        predictions: N poses.
        mode: "box_keypoint": box score times the mean of the keypoint scores above the threshold
            (0 if none is above), as CPN; "box_rle": box score + mean + maximum of the keypoint
            scores; "box": box score; "keypoint": mean of all keypoint scores; "keypoint_max":
            their maximum; "box_mean" and "box_max": box score times these.
        keypoint_threshold: for "box_keypoint" only.

    Returns:
        (N,) scores.

    Raises:
        ValueError: the mode is unknown.
    """
    points, boxes = predictions.keypoint_scores, predictions.box_scores
    if mode == "box_keypoint":
        return np.asarray(boxes * _mean(points, points > keypoint_threshold))
    if mode == "box_rle":
        return _box_rle(points, boxes)
    if mode == "box":
        return boxes.copy()
    if mode in ("keypoint", "box_mean"):
        means = _mean(points, np.ones(points.shape, dtype=bool))
        return means if mode == "keypoint" else means * boxes
    if mode in ("keypoint_max", "box_max"):
        return np.asarray(points.max(axis=1) * (boxes if mode == "box_max" else 1.0))
    raise ValueError(f"score mode '{mode}' is unknown; known: {list(get_args(ScoreMode))}")


def oks_nms(
    keypoints: FloatArray,
    scores: FloatArray,
    areas: FloatArray,
    *,
    sigmas: Sequence[float],
    threshold: float,
) -> Indices:
    """Keep the best pose, drop those that overlap it by more than the threshold, repeat.

    Args:
        keypoints: (N, K, 2) poses of one image.
        scores: (N,) person scores; of equal ones the later comes first, as in HRNet and mmpose.
        areas: (N,) box areas in square pixels.
        sigmas: K OKS constants.
        threshold: highest OKS that may remain between two poses.

    Returns:
        Indices of the kept poses, best first.
    """
    order = _best_first(scores)
    kept = []
    while len(order):
        kept.append(order[0])
        overlaps = _overlaps(keypoints, areas, order, sigmas)
        order = order[1:][overlaps <= threshold]
    return np.array(kept, dtype=np.intp)


def soft_oks_nms(
    keypoints: FloatArray,
    scores: FloatArray,
    areas: FloatArray,
    *,
    sigmas: Sequence[float],
    threshold: float,
    max_kept: int = MAX_SCORED,
) -> Indices:
    """Keep the best pose, lower the scores of the others by their overlap with it, repeat.

    A score falls by exp(-OKS^2 / threshold) (Bodla et al., ICCV 2017, Gaussian form). The lowered
    scores only decide the order and which `max_kept` poses remain: as in HRNet and mmpose the
    caller's scores stay. Other arguments and the result are as for `oks_nms`.
    """
    order = _best_first(scores)
    lowered = scores[order]
    kept: list[np.intp] = []
    while len(order) and len(kept) < max_kept:
        kept.append(order[0])
        overlaps = _overlaps(keypoints, areas, order, sigmas)
        order, lowered = order[1:], lowered[1:] * np.exp(-(overlaps**2) / threshold)
        again = _best_first(lowered)
        order, lowered = order[again], lowered[again]
    return np.array(kept, dtype=np.intp)


def suppress(
    predictions: PosePredictions,
    scores: FloatArray,
    *,
    method: NmsMethod,
    threshold: float,
    sigmas: Sequence[float],
) -> tuple[PosePredictions, FloatArray]:
    """Drop repeated persons image by image.

    Args:
        predictions: N poses of any images.
        scores: (N,) person scores, as `rescore` gives.
        method: "none" returns everything unchanged; "oks" and "soft_oks" as the functions here.
        threshold: OKS threshold, or the width of the soft one; above 0.
        sigmas: K OKS constants.

    Returns:
        The kept poses, by ascending image id and best first, and their unchanged scores.

    Raises:
        ValueError: the method is unknown.
        UserError: the threshold is not above 0, or keypoints, scores or areas are not finite.
    """
    if method == "none":
        return predictions, scores
    methods: dict[str, Callable[..., Indices]] = {"oks": oks_nms, "soft_oks": soft_oks_nms}
    if method not in methods:
        raise ValueError(f"NMS method '{method}' is unknown; known: {list(get_args(NmsMethod))}")
    if not threshold > 0:
        raise UserError(f"the OKS-NMS threshold must be above 0, got {threshold}")
    predictions.check_finite()
    kept = [np.empty(0, dtype=np.intp)]
    for indices in _by_image(predictions.image_ids):
        image = predictions.take(indices)
        chosen = methods[method](
            image.keypoints, scores[indices], image.areas, sigmas=sigmas, threshold=threshold
        )
        kept.append(indices[chosen])
    remaining = np.concatenate(kept)
    return predictions.take(remaining), scores[remaining]


def keep_scored(
    predictions: PosePredictions, scores: FloatArray, *, count: int = MAX_SCORED
) -> tuple[PosePredictions, FloatArray]:
    """The best poses of every image, in their order: all that COCO's evaluation looks at.

    Leaving out the others changes no number, and bounds what scoring many detections takes.

    Args:
        predictions: N poses of any images.
        scores: (N,) person scores; of equal ones the first is better, as in pycocotools.
        count: how many of an image may stay.
    """
    kept = [
        rows[np.argsort(-scores[rows], kind="stable")[:count]]
        for rows in _by_image(predictions.image_ids)
    ]
    remaining = np.sort(np.concatenate([np.empty(0, dtype=np.intp), *kept]))
    return predictions.take(remaining), scores[remaining]


def _mean(scores: FloatArray, counted: NDArray[np.bool_]) -> FloatArray:
    """(N,) means of the counted scores, 0 where none counts.

    Summed one after another in float64: scores that tie stay tied whatever the number of keypoints
    counted, which numpy's pairwise sum in float32 does not give.
    """
    total = np.cumsum(np.where(counted, scores, 0.0), axis=1, dtype=np.float64)[:, -1]
    return np.asarray(total / np.maximum(counted.sum(axis=1), 1))


def _box_rle(scores: FloatArray, boxes: FloatArray) -> FloatArray:
    """(N,) box score + mean + maximum, in float32 with numpy's pairwise mean.

    That is mmpose's arithmetic in this mode; persons whose exact sums tie are ranked by its
    rounding, and AP depends on that rank (0.01 in tests/golden/evaluation/mmpose/case2).
    """
    points = np.ascontiguousarray(scores, dtype=np.float32)
    total = boxes.astype(np.float32) + points.mean(axis=1) + points.max(axis=1)
    return np.asarray(total, dtype=np.float64)


def _best_first(scores: FloatArray) -> Indices:
    return np.argsort(scores, kind="stable")[::-1]


def _overlaps(
    keypoints: FloatArray, areas: FloatArray, order: Indices, sigmas: Sequence[float]
) -> FloatArray:
    """Overlap of the first pose in the order with each of the rest."""
    best, rest = order[0], order[1:]
    return pose_overlap(
        keypoints[best], keypoints[rest], area=areas[best], other_areas=areas[rest], sigmas=sigmas
    )


def _by_image(image_ids: NDArray[np.int64]) -> list[Indices]:
    """Positions of every image's instances, images ascending, instances in order."""
    order = np.argsort(image_ids, kind="stable")
    starts = np.flatnonzero(np.diff(image_ids[order])) + 1
    return np.split(order, starts) if len(order) else []
