"""Results with mistakes mended, as an evaluator takes them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from cpn.evaluation.diagnosis.diagnosis import Diagnosis
from cpn.evaluation.diagnosis.instances import Detections, Scene, find_scenes
from cpn.evaluation.diagnosis.keypoint_errors import GOOD_ABOVE, NEAR_FROM, KeypointError
from cpn.evaluation.diagnosis.matching import (
    COCO_THRESHOLDS,
    MATCH_THRESHOLD,
    match_detections,
)
from cpn.evaluation.diagnosis.scoring import optimal_scores
from cpn.evaluation.ground_truth import GroundTruth
from cpn.evaluation.results import KeypointResult

Score = Callable[[GroundTruth, Sequence[KeypointResult]], Mapping[str, float]]
"""Scores results against a ground truth; "AP" is among the numbers, NaN where nobody is there.

`lambda truth, results: evaluate_keypoints(truth, results, sigmas=skeleton.sigmas)` is one.
"""

Placement = Literal["truth", "paper"]


@dataclass(frozen=True, eq=False)
class Correction:
    """The results and the ground truth of a diagnosis, with some mistakes mended.

    Attributes:
        diagnosis: the mistakes.
        points: (D, K, 2) predicted keypoints.
        scores: (D,) of the results.
        kept: (D,) results that are not taken away.
        ignored: (G,) persons who are ignored besides those whom COCO ignores.
    """

    diagnosis: Diagnosis
    points: NDArray[np.float64]
    scores: NDArray[np.float64]
    kept: NDArray[np.bool_]
    ignored: NDArray[np.bool_]

    @classmethod
    def none(cls, diagnosis: Diagnosis) -> Self:
        """Nothing mended; only what COCO's evaluation leaves out anyway is taken away."""
        found = diagnosis.detections
        nobody = np.zeros(len(diagnosis.people.areas), dtype=np.bool_)
        return cls(diagnosis, found.points, found.scores, diagnosis.kept, nobody)

    def keypoints_mended(self, kind: KeypointError, placement: Placement = "truth") -> Self:
        """With all keypoints that have this error at their place; see `mended_points`."""
        wrong = self.diagnosis.errors.kinds == kind
        people = np.flatnonzero(wrong.any(axis=1))
        detections = self.diagnosis.matched[people]
        points = self.points.copy()
        points[detections] = np.where(
            wrong[people, :, None],
            mended_points(self.diagnosis, people, placement),
            points[detections],
        )
        return replace(self, points=points)

    def scores_mended(self) -> Self:
        """With scores in the best order; see `optimal_scores`."""
        scores = optimal_scores(
            self._scenes(), self.diagnosis.people, num_detections=len(self.scores)
        )
        return replace(self, scores=scores)

    def false_positives_removed(self) -> Self:
        """Without the detections that are of no one who is to be found.

        That is, not matched at 0.1 nor at any of COCO's thresholds. A double that COCO counts as
        right at a high threshold, where a worse detection with a higher score fails, stays: its
        loss would lower AP; the mistake is the score. Detections of crowds go, too: they cost AP at
        those thresholds that they do not reach.
        """
        people, scenes = self.diagnosis.people, self._scenes()
        right = np.zeros(len(self.scores), dtype=np.bool_)
        counted = np.append(people.counted, False)  # the last one stands for NOBODY
        for threshold in (MATCH_THRESHOLD, *COCO_THRESHOLDS):
            matches = match_detections(
                scenes, people, num_detections=len(right), threshold=threshold
            )
            right |= counted[matches]
        return replace(self, kept=right)

    def false_negatives_ignored(self) -> Self:
        """Without the people whom no detection is of: they are ignored, as the paper does.

        To add detections of them instead would push others out of an image's best 20.
        """
        people = self.diagnosis.people
        matches = match_detections(self._scenes(), people, num_detections=len(self.scores))
        found = np.isin(np.arange(len(people.areas)), matches)
        return replace(self, ignored=self.ignored | (people.counted & ~found))

    def results(self) -> list[KeypointResult]:
        """The results that are left, in their order; what was not mended is as it was given."""
        given = self.diagnosis.detections
        moved = (self.points != given.points).any(axis=(1, 2)).tolist()
        rescored = (self.scores != given.scores).tolist()
        scores = self.scores.tolist()
        return [
            _record(
                self.diagnosis.results[index],
                self.points[index] if moved[index] else None,
                scores[index] if rescored[index] else None,
            )
            for index in np.flatnonzero(self.kept).tolist()
        ]

    def truth(self) -> GroundTruth:
        """The ground truth; who is ignored is marked as a crowd, so that every evaluator does."""
        truth = self.diagnosis.truth
        if not self.ignored.any():
            return truth
        persons = tuple(
            msgspec.structs.replace(person, iscrowd=1) if ignored else person
            for person, ignored in zip(truth.persons, self.ignored.tolist(), strict=True)
        )
        return replace(truth, persons=persons)

    def evaluated(self, score: Score) -> Mapping[str, float]:
        """What a scoring function says."""
        return score(self.truth(), self.results())

    def _scenes(self) -> list[Scene]:
        detections = Detections(self.diagnosis.detections.image_ids, self.points, self.scores)
        return find_scenes(
            self.diagnosis.people,
            detections,
            sigmas=self.diagnosis.skeleton.sigmas,
            kept=self.kept,
        )


def mended_points(
    diagnosis: Diagnosis, people: NDArray[np.intp], placement: Placement
) -> NDArray[np.float64]:
    """(M, K, 2) where the keypoints of M matched people would be without their mistakes.

    Args:
        diagnosis: the mistakes.
        people: (M,) indices of persons.
        placement: "truth" is the annotated place: the most that can be gained. "paper" is, in the
            direction of the prediction, as far from it as the mistake allows (Ronchi and Perona,
            section 3.1): at similarity 0.85 for a jitter, 0.5 for a miss, and for an inversion or
            swap at the similarity the keypoint had with the wrong place.
    """
    truths = diagnosis.people.keypoints[people][..., :2]
    if placement == "truth":
        return truths
    kinds, near = (part[people] for part in diagnosis.errors)
    target = np.select(
        [kinds == KeypointError.JITTER, kinds == KeypointError.MISS], [GOOD_ABOVE, NEAR_FROM], near
    )
    sigmas = np.array(diagnosis.skeleton.sigmas)
    # OKS solved for the distance: d^2 = -ln(similarity) 2 s^2 (2 sigma)^2
    scales = diagnosis.people.areas[people, None] * 8 * sigmas**2
    distances = np.sqrt(-np.log(np.where(target > 0, target, 1.0)) * scales)
    offsets = diagnosis.detections.points[diagnosis.matched[people]] - truths
    lengths = np.hypot(offsets[..., 0], offsets[..., 1])
    directions = offsets / np.where(lengths > 0, lengths, 1.0)[..., None]
    return np.asarray(truths + directions * distances[..., None])


def _record(
    record: KeypointResult, points: NDArray[np.float64] | None, score: float | None
) -> KeypointResult:
    if points is not None:
        keypoints = np.array(record.keypoints).reshape(-1, 3)
        keypoints[:, :2] = points
        record = msgspec.structs.replace(record, keypoints=keypoints.ravel().tolist())
    return record if score is None else msgspec.structs.replace(record, score=score)
