"""PCK: the share of keypoints that lie near the truth, measured against the torso."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cpn.errors import UserError
from cpn.skeleton import Skeleton

TORSO_DIAGONALS = (("left_shoulder", "right_hip"), ("right_shoulder", "left_hip"))


class Pck(NamedTuple):
    """Result of `pck`; shares are NaN where nothing was counted.

    Attributes:
        value: share of correct keypoints over all counted ones.
        per_keypoint: (K,) shares.
        num_keypoints: how many labelled keypoints were counted.
        num_persons: how many persons were counted.
        num_skipped: persons left out because no torso diagonal is labelled or it has no length.
    """

    value: float
    per_keypoint: NDArray[np.float64]
    num_keypoints: int
    num_persons: int
    num_skipped: int


def pck(
    points: NDArray[np.float64],
    ground_truths: NDArray[np.float64],
    *,
    skeleton: Skeleton,
    fraction: float = 0.2,
) -> Pck:
    """Percentage of correct keypoints, PCK@fraction of the torso.

    A labelled keypoint (v > 0) is correct within `fraction` torso diameters. The diameter is the
    mean of the diagonals left shoulder - right hip and right shoulder - left hip that are labelled
    (Yang and Ramanan, PAMI 2013, with a measure that does not depend on the side seen).

    Args:
        points: (N, K, 2) predictions.
        ground_truths: (N, K, 3) x, y, v in the same frame, same persons in the same order.
        skeleton: tells which keypoints span the torso.
        fraction: of the torso diameter.

    Raises:
        UserError: the skeleton has no shoulders and hips, or predictions are not finite.
        ValueError: the shapes do not fit.
    """
    expected = (*ground_truths.shape[:2], 2)
    if points.shape != expected or ground_truths.shape[1:] != (skeleton.num_keypoints, 3):
        raise ValueError(f"points {points.shape} do not fit ground truths {ground_truths.shape}")
    if not np.isfinite(points).all():
        raise UserError("PCK: predicted keypoints are not finite; the model has diverged")
    labelled = ground_truths[..., 2] > 0
    torso = _torso_diameters(ground_truths[..., :2], labelled, skeleton)
    counted = labelled & (torso > 0)[:, None]
    distances = np.linalg.norm(points - ground_truths[..., :2], axis=-1)
    correct = counted & (distances <= fraction * torso[:, None])
    return Pck(
        value=float(_share(correct.sum(), counted.sum())),
        per_keypoint=_share(correct.sum(axis=0), counted.sum(axis=0)),
        num_keypoints=int(counted.sum()),
        num_persons=int((torso > 0).sum()),
        num_skipped=int((torso <= 0).sum()),
    )


def _torso_diameters(
    points: NDArray[np.float64], labelled: NDArray[np.bool_], skeleton: Skeleton
) -> NDArray[np.float64]:
    """(N,) mean of the labelled torso diagonals, 0 for persons without one."""
    names = skeleton.keypoint_names
    missing = [name for pair in TORSO_DIAGONALS for name in pair if name not in names]
    if missing:
        raise UserError(f"PCK of the torso needs the keypoints {missing}; known: {list(names)}")
    ends = np.array([[names.index(name) for name in pair] for pair in TORSO_DIAGONALS])
    lengths = np.linalg.norm(points[:, ends[:, 0]] - points[:, ends[:, 1]], axis=-1)
    usable = labelled[:, ends].all(axis=-1)
    total = np.where(usable, lengths, 0.0).sum(axis=1)
    return np.asarray(total / np.maximum(usable.sum(axis=1), 1))


def _share(correct: NDArray[np.int64], counted: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(counted > 0, correct / np.maximum(counted, 1), np.nan)
