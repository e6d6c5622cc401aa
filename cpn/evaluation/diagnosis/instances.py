"""Annotated people and detections as arrays, and who shares an image with whom."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cpn.errors import UserError
from cpn.evaluation.ground_truth import GroundTruth, Person
from cpn.evaluation.oks import oks
from cpn.evaluation.results import KeypointResult

MAX_DETECTIONS = 20
"""COCO's maxDets for keypoints: of an image's detections the best 20 by score count."""


@dataclass(frozen=True, eq=False)
class People:
    """G annotated persons, in the order of the annotations.

    Attributes:
        annotation_ids: (G,) int64.
        image_ids: (G,) int64.
        keypoints: (G, K, 3) x, y in image pixels and visibility; 0 for a person without keypoints.
        boxes_xywh: (G, 4).
        areas: (G,) segment areas in square pixels.
        crowd: (G,) who stands for a group.
    """

    annotation_ids: NDArray[np.int64]
    image_ids: NDArray[np.int64]
    keypoints: NDArray[np.float64]
    boxes_xywh: NDArray[np.float64]
    areas: NDArray[np.float64]
    crowd: NDArray[np.bool_]

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """(G, K) which keypoints are labelled (v > 0)."""
        return self.keypoints[..., 2] > 0

    @property
    def counted(self) -> NDArray[np.bool_]:
        """(G,) who is to be found; COCO ignores crowds and who has no labelled keypoint."""
        return ~self.crowd & self.labelled.any(axis=1)


@dataclass(frozen=True, eq=False)
class Detections:
    """D detected poses, in the order of the results.

    Attributes:
        image_ids: (D,) int64.
        points: (D, K, 2) x, y in image pixels.
        scores: (D,).
    """

    image_ids: NDArray[np.int64]
    points: NDArray[np.float64]
    scores: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scene:
    """One image with detections.

    Attributes:
        detections: (D,) indices of its detections, best score first, at most `MAX_DETECTIONS`.
        people: (G,) indices of the persons annotated in it, crowds and unlabelled ones too.
        similarities: (D, G) OKS of those detections with those persons.
    """

    detections: NDArray[np.intp]
    people: NDArray[np.intp]
    similarities: NDArray[np.float64]


def people_arrays(truth: GroundTruth, num_keypoints: int) -> People:
    """The persons of a ground truth.

    Raises:
        UserError: a person has keypoints, but not `num_keypoints`.
    """
    persons = truth.persons
    rows = [_triples(person, num_keypoints, truth.source) for person in persons]
    return People(
        annotation_ids=np.array([person.id for person in persons], dtype=np.int64),
        image_ids=np.array([person.image_id for person in persons], dtype=np.int64),
        keypoints=np.array(rows, dtype=np.float64).reshape(-1, num_keypoints, 3),
        boxes_xywh=np.array([p.bbox for p in persons], dtype=np.float64).reshape(-1, 4),
        areas=np.array([person.area for person in persons], dtype=np.float64),
        crowd=np.array([person.iscrowd for person in persons], dtype=np.bool_),
    )


def detection_arrays(results: Sequence[KeypointResult], num_keypoints: int) -> Detections:
    """The poses of checked results."""
    rows = np.array([result.keypoints for result in results], dtype=np.float64)
    return Detections(
        image_ids=np.array([result.image_id for result in results], dtype=np.int64),
        points=rows.reshape(-1, num_keypoints, 3)[..., :2].copy(),
        scores=np.array([result.score for result in results], dtype=np.float64),
    )


def find_scenes(
    people: People,
    detections: Detections,
    *,
    sigmas: Sequence[float],
    kept: NDArray[np.bool_] | None = None,
) -> list[Scene]:
    """The images that have detections, by id, with the similarity of all that meets there.

    Args:
        people: G persons.
        detections: D detections of the same images.
        sigmas: K OKS constants.
        kept: (D,) the detections that count; None takes all.
    """
    chosen = np.flatnonzero(np.ones(len(detections.scores), bool) if kept is None else kept)
    # COCO's order: highest score first, of equal scores the first in the file (lexsort is stable).
    ranked = chosen[np.lexsort((-detections.scores[chosen], detections.image_ids[chosen]))]
    persons = dict(by_image(people.image_ids, np.argsort(people.image_ids, kind="stable")))
    nobody = np.zeros(0, dtype=np.intp)
    return [
        _scene(people, detections, group[:MAX_DETECTIONS], persons.get(image_id, nobody), sigmas)
        for image_id, group in by_image(detections.image_ids, ranked)
    ]


def by_image(
    image_ids: NDArray[np.int64], order: NDArray[np.intp]
) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Runs of one image in indices that are sorted by image, each with the image's id."""
    if not len(order):
        return
    starts = np.flatnonzero(np.diff(image_ids[order])) + 1
    for group in np.split(order, starts):
        yield int(image_ids[group[0]]), group


def _scene(
    people: People,
    detections: Detections,
    chosen: NDArray[np.intp],
    persons: NDArray[np.intp],
    sigmas: Sequence[float],
) -> Scene:
    if not len(persons):
        return Scene(chosen, persons, np.zeros((len(chosen), 0)))
    similarities = oks(
        people.keypoints[persons],
        detections.points[chosen],
        areas=people.areas[persons],
        boxes_xywh=people.boxes_xywh[persons],
        sigmas=sigmas,
    )
    return Scene(chosen, persons, similarities)


def _triples(person: Person, num_keypoints: int, source: str) -> list[float]:
    if not person.keypoints:
        return [0.0] * (3 * num_keypoints)
    if len(person.keypoints) != 3 * num_keypoints:
        raise UserError(
            f"{source}: annotation {person.id} has {len(person.keypoints) // 3} keypoints but the"
            f" skeleton has {num_keypoints}; give the skeleton of these annotations"
        )
    return person.keypoints
