"""Why a result is not better: every person and every unmatched detection with what went wrong.

Source: Ronchi and Perona, "Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation",
ICCV 2017. The authors' own program is github.com/matteorr/coco-analyze; where this one differs, the
function says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cpn.evaluation.diagnosis.instances import (
    Detections,
    People,
    detection_arrays,
    find_scenes,
    people_arrays,
)
from cpn.evaluation.diagnosis.keypoint_errors import KeypointError, KeypointErrors, keypoint_errors
from cpn.evaluation.diagnosis.matching import (
    MATCH_THRESHOLD,
    NOBODY,
    Nearest,
    match_detections,
    nearest_people,
)
from cpn.evaluation.diagnosis.scoring import better_detections
from cpn.evaluation.ground_truth import GroundTruth
from cpn.evaluation.results import KeypointResult, check_results, parse_results
from cpn.skeleton import Skeleton


class PersonDiagnosis(NamedTuple):
    """One annotated person who is to be found, for a table or a gallery.

    Attributes:
        annotation_id: of the person.
        image_id: of the image.
        result: index of the matched result; None for a person nobody found (false negative).
        oks: similarity of that result, 0 without one.
        errors: what became of each of the K keypoints; all NONE without a result.
        better_result: index of a better result of this person that had a lower score (score
            error); None if there is none.
    """

    annotation_id: int
    image_id: int
    result: int | None
    oks: float
    errors: tuple[KeypointError, ...]
    better_result: int | None


class FalsePositive(NamedTuple):
    """One detection that is of no one.

    Attributes:
        result: index in the results.
        image_id: of the image.
        score: of the result.
        oks: similarity with the person it is most like, 0 for none.
        annotation_id: that person, if the OKS is 0.1 at least: the detection is a double, of a
            person who has another one; None: it is of the background.
    """

    result: int
    image_id: int
    score: float
    oks: float
    annotation_id: int | None


class Counts(NamedTuple):
    """How much there is of everything.

    Attributes:
        people: annotated persons who are to be found.
        detections: results that count (at most 20 of an image).
        matched: persons with a detection.
        false_negatives: persons without one.
        background: detections like nobody.
        doubles: further detections of persons; with `background` the paper's false positives.
        ignored: detections of crowds and of persons without labelled keypoints.
        score_errors: persons whose best detection has a lower score than their worse one.
        keypoints: labelled keypoints of matched persons by kind: (K,) each.
    """

    people: int
    detections: int
    matched: int
    false_negatives: int
    background: int
    doubles: int
    ignored: int
    score_errors: int
    keypoints: dict[KeypointError, NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What `diagnose` finds. G persons (all annotated ones), D results, K keypoints.

    Attributes:
        truth: the ground truth.
        results: D records.
        skeleton: the K keypoints.
        people: the persons as arrays.
        detections: the results as arrays.
        kept: (D,) the results that count: the best 20 by score of each image.
        matches: (D,) index of the person a result is of, ignored ones too; -1 for nobody.
        nearest: whom each result is most like.
        matched: (G,) index of the result of each person who is to be found, -1 for none.
        oks: (G,) similarity with it, 0 for none.
        errors: (G, K) of keypoints.
        better: (G,) index of the result that should have had the highest score, -1 for none.
    """

    truth: GroundTruth
    results: tuple[KeypointResult, ...]
    skeleton: Skeleton
    people: People
    detections: Detections
    kept: NDArray[np.bool_]
    matches: NDArray[np.intp]
    nearest: Nearest
    matched: NDArray[np.intp]
    oks: NDArray[np.float64]
    errors: KeypointErrors
    better: NDArray[np.intp]

    @cached_property
    def persons(self) -> list[PersonDiagnosis]:
        """Everyone who is to be found, in the order of the annotations."""
        return [
            PersonDiagnosis(
                annotation_id=int(self.people.annotation_ids[index]),
                image_id=int(self.people.image_ids[index]),
                result=_index(self.matched[index]),
                oks=float(self.oks[index]),
                errors=tuple(map(KeypointError, self.errors.kinds[index].tolist())),
                better_result=_index(self.better[index]),
            )
            for index in np.flatnonzero(self.people.counted)
        ]

    @cached_property
    def false_positives(self) -> list[FalsePositive]:
        """The detections that count and are of no one, not even of a crowd; in their order."""
        return [
            FalsePositive(
                result=int(index),
                image_id=int(self.detections.image_ids[index]),
                score=float(self.detections.scores[index]),
                oks=float(self.nearest.similarities[index]),
                annotation_id=(
                    int(self.people.annotation_ids[self.nearest.people[index]])
                    if self.nearest.similarities[index] >= MATCH_THRESHOLD
                    else None
                ),
            )
            for index in np.flatnonzero(self.kept & (self.matches == NOBODY))
        ]

    @cached_property
    def counts(self) -> Counts:
        """How much there is of everything."""
        counted, found = self.people.counted, self.matched != NOBODY
        unmatched = self.kept & (self.matches == NOBODY)
        double = unmatched & (self.nearest.similarities >= MATCH_THRESHOLD)
        return Counts(
            people=int(counted.sum()),
            detections=int(self.kept.sum()),
            matched=int(found.sum()),
            false_negatives=int((counted & ~found).sum()),
            background=int((unmatched & ~double).sum()),
            doubles=int(double.sum()),
            ignored=int((self.matches != NOBODY).sum() - found.sum()),
            score_errors=int((self.better != NOBODY).sum()),
            keypoints={
                kind: (self.errors.kinds == kind).sum(axis=0)
                for kind in KeypointError
                if kind is not KeypointError.NONE
            },
        )


def diagnose(
    truth: GroundTruth,
    results: Sequence[Mapping[str, Any] | KeypointResult],
    skeleton: Skeleton,
) -> Diagnosis:
    """Find what is wrong with keypoint results.

    Of each image the 20 results with the highest scores count, as in COCO's evaluation; they are
    matched as there, from an OKS of 0.1 on. Crowds and persons without labelled keypoints are
    ignored: a detection of them is neither right nor wrong. Persons of any size count, as in
    COCO's AP over all areas, where the paper leaves out those below 32^2 pixels.

    Args:
        truth: the annotated people.
        results: COCO keypoint results of images of this ground truth; there may be none.
        skeleton: the K keypoints of both, with their OKS constants and flip pairs.

    Raises:
        UserError: results are refused (see `check_results`), or there are not K keypoints.
    """
    records = tuple(parse_results(results))
    check_results(
        records,
        source="results",
        image_ids=truth.image_ids,
        category_id=truth.category_id,
        num_keypoints=skeleton.num_keypoints,
    )
    people = people_arrays(truth, skeleton.num_keypoints)
    detections = detection_arrays(records, skeleton.num_keypoints)
    scenes = find_scenes(people, detections, sigmas=skeleton.sigmas)
    matches = match_detections(scenes, people, num_detections=len(records))
    nearest = nearest_people(scenes, people, num_detections=len(records))
    kept = np.zeros(len(records), dtype=np.bool_)
    matched = np.full(len(people.areas), NOBODY, dtype=np.intp)
    similarities = np.zeros(len(people.areas))
    for scene in scenes:
        kept[scene.detections] = True
        rows, columns = np.nonzero(matches[scene.detections][:, None] == scene.people)
        matched[scene.people[columns]] = scene.detections[rows]
        similarities[scene.people[columns]] = scene.similarities[rows, columns]
    matched[~people.counted] = NOBODY
    similarities[~people.counted] = 0
    return Diagnosis(
        truth=truth,
        results=records,
        skeleton=skeleton,
        people=people,
        detections=detections,
        kept=kept,
        matches=matches,
        nearest=nearest,
        matched=matched,
        oks=similarities,
        errors=keypoint_errors(scenes, people, detections, matches, skeleton),
        better=better_detections(nearest, matched, similarities),
    )


def _index(value: np.intp) -> int | None:
    return None if value == NOBODY else int(value)
