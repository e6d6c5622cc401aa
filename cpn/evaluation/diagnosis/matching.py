"""Which detection is of which person: COCO's greedy matching, at any threshold."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cpn.evaluation.diagnosis.instances import People, Scene

MATCH_THRESHOLD = 0.1
"""From this OKS on a detection is of a person, however bad (Ronchi and Perona, section 3.1)."""

COCO_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
NOBODY = -1


class Nearest(NamedTuple):
    """The person each of D detections is most similar to, of those who are to be found.

    Attributes:
        people: (D,) index of the person, `NOBODY` where there is no similarity at all.
        similarities: (D,) OKS with that person, 0 for nobody.
    """

    people: NDArray[np.intp]
    similarities: NDArray[np.float64]


def match_detections(
    scenes: Iterable[Scene],
    people: People,
    *,
    num_detections: int,
    threshold: float = MATCH_THRESHOLD,
) -> NDArray[np.intp]:
    """The person that COCO's evaluation gives to each detection.

    The detection with the highest score chooses first, the most similar person that is left; a
    person that COCO ignores only when there is no other, a crowd any number of times.

    Returns:
        (D,) index of the person, ignored ones too, or `NOBODY`.
    """
    matches = np.full(num_detections, NOBODY, dtype=np.intp)
    counted = people.counted
    for scene in scenes:
        # Most detections are like nobody: they need no turn, as they would take no one.
        near = np.flatnonzero(scene.similarities.max(axis=1, initial=0.0) >= threshold)
        if len(near):
            order = np.argsort(~counted[scene.people], kind="stable")
            columns = scene.people[order]
            found = _choose(
                scene.similarities[np.ix_(near, order)].tolist(),
                (~counted[columns]).tolist(),
                people.crowd[columns].tolist(),
                threshold,
            )
            matched = np.array(found) != NOBODY
            matches[scene.detections[near[matched]]] = columns[np.array(found)[matched]]
    return matches


def nearest_people(scenes: Iterable[Scene], people: People, *, num_detections: int) -> Nearest:
    """Whom each detection is most like, whoever else is; the first of equals."""
    nearest = Nearest(np.full(num_detections, NOBODY, np.intp), np.zeros(num_detections))
    counted = people.counted
    for scene in scenes:
        columns = np.flatnonzero(counted[scene.people])
        if len(columns):
            similarities = scene.similarities[:, columns]
            best, index = similarities.max(axis=1), similarities.argmax(axis=1)
            near = best > 0
            nearest.people[scene.detections[near]] = scene.people[columns[index[near]]]
            nearest.similarities[scene.detections] = best
    return nearest


def _choose(
    similarities: Sequence[Sequence[float]],
    ignored: Sequence[bool],
    crowd: Sequence[bool],
    threshold: float,
) -> list[int]:
    """The column each row takes in its turn; ignored persons stand behind all others."""
    taken = [False] * len(ignored)
    chosen = []
    for row in similarities:
        best, match = min(threshold, 1 - 1e-10), NOBODY
        for column, similarity in enumerate(row):
            if taken[column] and not crowd[column]:
                continue
            if match != NOBODY and ignored[column] and not ignored[match]:
                break
            if similarity >= best:  # of equals the last, as pycocotools has it
                best, match = similarity, column
        if match != NOBODY:
            taken[match] = True
        chosen.append(match)
    return chosen
