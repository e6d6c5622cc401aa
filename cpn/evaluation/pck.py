"""PCK: the share of keypoints that lie near the truth, measured against the torso or the head."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cpn.errors import UserError
from cpn.skeleton import Skeleton

AREA_FRACTIONS = np.linspace(0.0, 0.5, 51)


class Yardstick(NamedTuple):
    """What distances are measured by: the mean length of those pairs that are labelled.

    Attributes:
        name: for messages.
        pairs: names of keypoints.
    """

    name: str
    pairs: tuple[tuple[str, str], ...]

    def fits(self, skeleton: Skeleton) -> bool:
        """Whether the skeleton has all of its keypoints."""
        return not self.missing(skeleton)

    def missing(self, skeleton: Skeleton) -> list[str]:
        """Its keypoints that the skeleton does not have."""
        names = [name for pair in self.pairs for name in pair]
        return [name for name in names if name not in skeleton.keypoint_names]


# Its diagonals, so that a turned person is measured by the longer side.
TORSO = Yardstick("torso", (("left_shoulder", "right_hip"), ("right_shoulder", "left_hip")))
# PCKh (Andriluka et al., CVPR 2014) measures by 0.6 of the diagonal of an annotated head box. Few
# files have one; where the keypoints mark the head, its length is close to that.
HEADS = tuple(
    Yardstick("head", (pair,))
    for pair in (("head_top", "upper_neck"), ("head_top", "neck"), ("top_head", "neck"))
)


def head_of(skeleton: Skeleton) -> Yardstick | None:
    """The head's length, for PCKh; None for skeletons that do not mark it, as COCO's."""
    return next((head for head in HEADS if head.fits(skeleton)), None)


class Pck(NamedTuple):
    """Result of `pck`; shares are NaN where nothing was counted.

    Attributes:
        value: share of correct keypoints over all counted ones.
        area: mean share over the fractions 0 to 0.5 (area under the curve, AUC).
        per_keypoint: (K,) shares.
        num_keypoints: how many labelled keypoints were counted.
        num_persons: how many persons were counted.
        num_skipped: persons left out because their yardstick is not labelled or has no length.
    """

    value: float
    area: float
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
    yardstick: Yardstick | NDArray[np.float64] = TORSO,
) -> Pck:
    """Percentage of correct keypoints, PCK@fraction of the torso, or PCKh of the head.

    A labelled keypoint (v > 0) is correct within `fraction` lengths of the yardstick. The torso's
    is the mean of the diagonals left shoulder - right hip and right shoulder - left hip that are
    labelled (Yang and Ramanan, PAMI 2013, with a measure that does not depend on the side seen).

    Args:
        points: (N, K, 2) predictions.
        ground_truths: (N, K, 3) x, y, v in the same frame, same persons in the same order.
        skeleton: tells which keypoints span the yardstick.
        fraction: of its length.
        yardstick: of every person's own keypoints; or (N,) lengths, 0 for people to leave out.

    Raises:
        UserError: the skeleton lacks the yardstick's keypoints, or predictions are not finite.
        ValueError: the shapes do not fit.
    """
    expected = (*ground_truths.shape[:2], 2)
    if points.shape != expected or ground_truths.shape[1:] != (skeleton.num_keypoints, 3):
        raise ValueError(f"points {points.shape} do not fit ground truths {ground_truths.shape}")
    if not np.isfinite(points).all():
        raise UserError("PCK: predicted keypoints are not finite; the model has diverged")
    labelled = ground_truths[..., 2] > 0
    lengths = (
        _lengths(ground_truths[..., :2], labelled, skeleton, yardstick)
        if isinstance(yardstick, Yardstick)
        else yardstick
    )
    counted = labelled & (lengths > 0)[:, None]
    distances = np.linalg.norm(points - ground_truths[..., :2], axis=-1)
    correct = counted & (distances <= fraction * lengths[:, None])
    reached = (distances / np.where(lengths > 0, lengths, np.inf)[:, None])[counted]
    return Pck(
        value=float(_share(correct.sum(), counted.sum())),
        area=_area(reached),
        per_keypoint=_share(correct.sum(axis=0), counted.sum(axis=0)),
        num_keypoints=int(counted.sum()),
        num_persons=int((lengths > 0).sum()),
        num_skipped=int((lengths <= 0).sum()),
    )


def _lengths(
    points: NDArray[np.float64],
    labelled: NDArray[np.bool_],
    skeleton: Skeleton,
    yardstick: Yardstick,
) -> NDArray[np.float64]:
    """(N,) mean of the yardstick's labelled pairs, 0 for persons without one."""
    names = skeleton.keypoint_names
    if missing := yardstick.missing(skeleton):
        raise UserError(
            f"PCK of the {yardstick.name} needs the keypoints {missing}; known: {list(names)}"
        )
    ends = np.array([[names.index(name) for name in pair] for pair in yardstick.pairs])
    lengths = np.linalg.norm(points[:, ends[:, 0]] - points[:, ends[:, 1]], axis=-1)
    usable = labelled[:, ends].all(axis=-1)
    total = np.where(usable, lengths, 0.0).sum(axis=1)
    return np.asarray(total / np.maximum(usable.sum(axis=1), 1))


def _area(distances: NDArray[np.float64]) -> float:
    """Mean PCK over `AREA_FRACTIONS` of (n,) distances in yardsticks; NaN for none."""
    if not len(distances):
        return float("nan")
    within = np.searchsorted(np.sort(distances), AREA_FRACTIONS, side="right")
    return float(within.mean() / len(distances))


def _share(correct: ArrayLike, counted: ArrayLike) -> NDArray[np.float64]:
    return np.where(np.greater(counted, 0), np.divide(correct, np.maximum(counted, 1)), np.nan)
