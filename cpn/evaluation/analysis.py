"""Everything there is to say about one set of results: how good, how sure, and why not better."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from cpn.evaluation.bootstrap import Interval, bootstrap
from cpn.evaluation.by_keypoint import body_parts, metrics_by_keypoint, metrics_by_subset
from cpn.evaluation.coco_keypoints import match_keypoints
from cpn.evaluation.diagnosis import (
    Diagnosis,
    Fixes,
    KeypointError,
    Mistake,
    Slice,
    score_fixes,
    score_slices,
)
from cpn.evaluation.ground_truth import GroundTruth
from cpn.evaluation.matching import Matches
from cpn.evaluation.pck import TORSO, pck
from cpn.evaluation.results import KeypointResult

Metrics = dict[str, float]

FAR_OFF = 1e9  # pixels: where the keypoints of people without a result are

KEYPOINT_MISTAKES = {
    Mistake.JITTER: KeypointError.JITTER,
    Mistake.INVERSION: KeypointError.INVERSION,
    Mistake.SWAP: KeypointError.SWAP,
    Mistake.MISS: KeypointError.MISS,
}


@dataclass(frozen=True, eq=False)
class Analysis:
    """What `Analysis.of` finds; the ten numbers everywhere are those named in `COCO_METRICS`.

    Attributes:
        metrics: the ten numbers.
        intervals: of the ten numbers; empty without resamples.
        matches: what the numbers are made of.
        keypoints: the ten numbers of each keypoint alone.
        parts: of each part of the body.
        pck: of each keypoint, PCK@0.2 of the torso over all people; where nobody was found it is
            wrong. Empty for a skeleton without torso.
        diagnosis: person by person, keypoint by keypoint.
        fixes: the ten numbers if one kind of mistake were mended.
        slices: the ten numbers of people by number of keypoints, overlap, size and shape.
    """

    metrics: Metrics
    intervals: Mapping[str, Interval]
    matches: Matches
    keypoints: Mapping[str, Metrics]
    parts: Mapping[str, Metrics]
    pck: Mapping[str, float]
    diagnosis: Diagnosis
    fixes: Fixes
    slices: Sequence[Slice]

    @classmethod
    def of(cls, diagnosis: Diagnosis, *, resamples: int, confidence: float) -> Self:
        """Analyse diagnosed results; hotcoco does the 60 evaluations that it takes.

        Args:
            diagnosis: of the results.
            resamples: of the images, for the intervals; 0: no intervals.
            confidence: of the intervals.
        """
        truth, results, skeleton = diagnosis.truth, diagnosis.results, diagnosis.skeleton

        def score(people: GroundTruth, poses: Sequence[KeypointResult]) -> Metrics:
            return match_keypoints(people, poses, sigmas=skeleton.sigmas, engine="hotcoco").metrics

        evaluation = match_keypoints(truth, results, sigmas=skeleton.sigmas, engine="hotcoco")
        matches = evaluation.coco.matches()
        intervals = {}
        if resamples:
            intervals = bootstrap(matches, resamples=resamples, confidence=confidence)
        return cls(
            metrics=evaluation.metrics,
            intervals=intervals,
            matches=matches,
            keypoints=metrics_by_keypoint(truth, results, skeleton),
            parts=metrics_by_subset(truth, results, skeleton, body_parts(skeleton)),
            pck=_pck(diagnosis),
            diagnosis=diagnosis,
            fixes=score_fixes(diagnosis, score),
            slices=score_slices(diagnosis, score),
        )

    @property
    def part_indices(self) -> dict[str, tuple[int, ...]]:
        """The keypoints of each of `parts`."""
        return body_parts(self.diagnosis.skeleton)

    def count(self, mistake: Mistake) -> int:
        """How many keypoints, persons or detections have a mistake."""
        counts = self.diagnosis.counts
        if mistake in KEYPOINT_MISTAKES:
            return int(counts.keypoints[KEYPOINT_MISTAKES[mistake]].sum())
        whole = {
            Mistake.SCORE: counts.score_errors,
            Mistake.FALSE_POSITIVE: counts.background + counts.doubles,
            Mistake.FALSE_NEGATIVE: counts.false_negatives,
        }
        return whole[mistake]

    def to_dict(self) -> dict[str, Any]:
        """The figures for a JSON file; infinite bounds of slices are None."""
        return {
            "intervals": {name: [row.low, row.high] for name, row in self.intervals.items()},
            "keypoints": {
                name: metrics | self._pck_of(name) | self._counts_of(k)
                for k, (name, metrics) in enumerate(self.keypoints.items())
            },
            "parts": dict(self.parts),
            "mistakes": {
                str(fix.mistake): {
                    "count": self.count(fix.mistake),
                    "AP_if_fixed": fix.alone["AP"],
                    "AP_if_fixed_in_turn": fix.progressive["AP"],
                }
                for fix in self.fixes.fixes
            },
            "slices": [self._slice(part) for part in self.slices],
        }

    def _pck_of(self, name: str) -> dict[str, float]:
        return {"PCK": self.pck[name]} if name in self.pck else {}

    def _counts_of(self, keypoint: int) -> dict[str, int]:
        kinds = self.diagnosis.counts.keypoints.items()
        return {kind.name.lower(): int(counts[keypoint]) for kind, counts in kinds}

    @staticmethod
    def _slice(part: Slice) -> dict[str, Any]:
        return {
            "property": part.name,
            "from": part.low if part.low > float("-inf") else None,
            "below": part.high if part.high < float("inf") else None,
            "people": part.num_people,
            "mean_oks": part.mean_oks,
            "found": part.found,
            "metrics": dict(part.metrics),
        }


def _pck(diagnosis: Diagnosis) -> dict[str, float]:
    skeleton, people = diagnosis.skeleton, diagnosis.people
    if not TORSO.fits(skeleton):
        return {}
    counted = np.flatnonzero(people.counted)
    found = diagnosis.matched[counted]
    nowhere = np.full_like(people.keypoints[counted, :, :2], FAR_OFF)
    points = diagnosis.detections.points[found] if len(diagnosis.results) else nowhere
    points = np.where((found >= 0)[:, None, None], points, nowhere)
    shares = pck(points, people.keypoints[counted], skeleton=skeleton).per_keypoint
    return dict(zip(skeleton.keypoint_names, shares.tolist(), strict=True))
