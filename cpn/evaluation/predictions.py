"""Predicted poses of many instances, and the proof that none is missing or doubled."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cpn.errors import UserError

MAX_NAMED = 5


@dataclass(frozen=True, eq=False)
class PosePredictions:
    """N predicted poses, before scoring and suppression.

    Attributes:
        image_ids: (N,) int64.
        instance_ids: (N,) int64, unique: annotation ids for ground-truth boxes, else box numbers.
        keypoints: (N, K, 2) float64 x, y in the image frame (integer = pixel centre).
        keypoint_scores: (N, K) float64.
        box_scores: (N,) float64 scores of the person boxes; 1 for ground-truth boxes.
        areas: (N,) float64 areas of the person boxes in square pixels, the scale for OKS-NMS.

    Raises:
        ValueError: the shapes do not fit together.
    """

    image_ids: NDArray[np.int64]
    instance_ids: NDArray[np.int64]
    keypoints: NDArray[np.float64]
    keypoint_scores: NDArray[np.float64]
    box_scores: NDArray[np.float64]
    areas: NDArray[np.float64]

    def __post_init__(self) -> None:
        n, k = self.keypoint_scores.shape
        expected = [(n,), (n,), (n, k, 2), (n, k), (n,), (n,)]
        for field, shape in zip(fields(self), expected, strict=True):
            found = getattr(self, field.name).shape
            if found != shape:
                raise ValueError(f"{field.name} has shape {found}, expected {shape}")

    def __len__(self) -> int:
        return len(self.image_ids)

    def take(self, indices: NDArray[np.intp]) -> Self:
        """The instances at the given positions, in their order."""
        return type(self)(*(getattr(self, field.name)[indices] for field in fields(self)))

    @classmethod
    def concatenate(cls, parts: Sequence["PosePredictions"]) -> Self:
        """Join parts (batches or ranks) and sort by instance id.

        The order is then the same for any split, so that equal scores are ranked alike and the
        evaluation does not depend on the number of ranks. Parts may be empty; at least one part.
        """
        arrays = [
            np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)
        ]
        joined = cls(*arrays)
        return joined.take(np.argsort(joined.instance_ids, kind="stable"))

    def check_finite(self) -> None:
        """Refuse NaN and infinity, which pycocotools would score as perfect.

        Raises:
            UserError: the count, and image and instance ids of the first bad predictions.
        """
        finite = np.isfinite(self.keypoints).all(axis=(1, 2))
        finite &= np.isfinite(self.keypoint_scores).all(axis=1)
        finite &= np.isfinite(self.box_scores) & np.isfinite(self.areas)
        if not finite.all():
            raise UserError(non_finite_message(finite, self.image_ids, self.instance_ids))


def non_finite_message(
    finite: NDArray[np.bool_], image_ids: NDArray[np.int64], instance_ids: NDArray[np.int64]
) -> str:
    """What is wrong, and where, for (N,) predictions of which some are not finite."""
    bad = np.flatnonzero(~finite)
    first = ", ".join(
        f"image {image_ids[index]} instance {instance_ids[index]}" for index in bad[:MAX_NAMED]
    )
    return (
        f"{len(bad)} of {len(finite)} predictions have non-finite keypoints, scores or areas"
        f" (first: {first}); the model has diverged, nothing was evaluated"
    )


def check_complete(instance_ids: Iterable[int], expected_ids: Iterable[int]) -> None:
    """Refuse predictions that do not hold every expected instance exactly once.

    Raises:
        UserError: counts and first ids of the missing, doubled and unexpected instances.
    """
    found, expected = Counter(map(int, instance_ids)), set(map(int, expected_ids))
    problems = {
        "missing": sorted(expected - found.keys()),
        "more than once": sorted(key for key, count in found.items() if count > 1),
        "not expected": sorted(found.keys() - expected),
    }
    told = [
        f"{len(ids)} {what} (first: {ids[:MAX_NAMED]})" for what, ids in problems.items() if ids
    ]
    if told:
        raise UserError(f"predictions are not one per instance: {'; '.join(told)}")
