"""How good results are for some people: the occluded, the crowded, the small, the lying.

The rule, which is COCO's for its area ranges carried over to any property of a person: a slice has
its people; everyone else is ignored, neither to be found nor wrong to find. A detection belongs to
the person it is matched with (OKS from 0.1 on), a double to the person it is most like; detections
of people outside the slice are taken out, so that a bad detection of a small person is no false
positive among the large ones. A detection of the background has no person and so no slice: taken
for all slices, it would make small slices bad for being small. AP of a slice is therefore higher
than AP over all; compare slices with each other. Mean OKS and the share found need no scores and no
background, and say something where AP of a handful of people does not.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cpn.evaluation.coco_keypoints import COCO_METRICS
from cpn.evaluation.diagnosis.correction import Correction, Score
from cpn.evaluation.diagnosis.diagnosis import Diagnosis
from cpn.evaluation.diagnosis.instances import People, by_image
from cpn.evaluation.diagnosis.matching import MATCH_THRESHOLD, NOBODY

FOUND_FROM = 0.5
"""A person is found from this OKS on, the lowest of COCO's thresholds."""


class Property(NamedTuple):
    """Something that people differ in.

    Attributes:
        name: of the property.
        values: (G,) for each person; NaN puts a person in no slice.
        edges: increasing inner edges; E of them make E + 1 slices.
    """

    name: str
    values: NDArray[np.float64]
    edges: tuple[float, ...]


class Slice(NamedTuple):
    """Results for the people with low <= value < high.

    Attributes:
        name: of the property.
        low: -inf for the first slice.
        high: inf for the last slice.
        num_people: how many are to be found; the less, the less the other numbers say.
        mean_oks: over these people, 0 for one without detection; NaN without people.
        found: share of them with a detection of OKS 0.5 at least; NaN without people.
        metrics: the evaluator's numbers, see the rule above; NaN without people.
    """

    name: str
    low: float
    high: float
    num_people: int
    mean_oks: float
    found: float
    metrics: Mapping[str, float]


def people_properties(people: People) -> tuple[Property, ...]:
    """The properties whose influence the paper studies (section 4), and the shape of the box.

    - labelled_keypoints: the paper's "visible" ones, v > 0; slices as for COCO's 17 up to 5, 10, 15
      and more, in proportion for another K.
    - visible_keypoints: not occluded, v = 2; the same slices.
    - overlap: largest IoU of the box with that of anyone else in the image, crowds and people
      without keypoints too.
    - box_area: of the box in square pixels, edges at 32^2, 96^2 and 192^2.
    - box_aspect: width / height; NaN for a box without width or height.
    """
    k = people.keypoints.shape[1]
    number_edges = tuple(1.0 + math.floor(k * count / 17) for count in (5, 10, 15))
    labelled = people.labelled.sum(axis=1).astype(np.float64)
    visible = (people.keypoints[..., 2] == 2).sum(axis=1).astype(np.float64)
    width, height = people.boxes_xywh[:, 2], people.boxes_xywh[:, 3]
    solid = (width > 0) & (height > 0)
    aspect = np.where(solid, width / np.where(solid, height, 1.0), np.nan)
    return (
        Property("labelled_keypoints", labelled, number_edges),
        Property("visible_keypoints", visible, number_edges),
        Property("overlap", largest_overlaps(people), (0.1, 0.3, 0.5)),
        Property("box_area", width * height, (32.0**2, 96.0**2, 192.0**2)),
        Property("box_aspect", aspect, (1 / 3, 2 / 3, 1.0)),
    )


def largest_overlaps(people: People) -> NDArray[np.float64]:
    """(G,) the largest IoU of each person's box with another person's of the same image."""
    largest = np.zeros(len(people.areas))
    for _, present in by_image(people.image_ids, np.argsort(people.image_ids, kind="stable")):
        if len(present) > 1:
            ious = _pairwise_iou(people.boxes_xywh[present])
            np.fill_diagonal(ious, 0)
            largest[present] = ious.max(axis=1)
    return largest


def score_slices(
    diagnosis: Diagnosis, score: Score, *, properties: Sequence[Property] | None = None
) -> list[Slice]:
    """Evaluate the people of each slice of each property.

    Args:
        diagnosis: of all results.
        score: evaluates; called once for each slice with people in it.
        properties: None takes `people_properties`.
    """
    chosen = people_properties(diagnosis.people) if properties is None else properties
    owners = _owners(diagnosis)
    slices = []
    for given in chosen:
        bounds = (-math.inf, *given.edges, math.inf)
        for low, high in pairwise(bounds):
            inside = diagnosis.people.counted & (given.values >= low) & (given.values < high)
            slices.append(_slice(diagnosis, score, owners, inside, (given.name, low, high)))
    return slices


def _slice(
    diagnosis: Diagnosis,
    score: Score,
    owners: NDArray[np.intp],
    inside: NDArray[np.bool_],
    which: tuple[str, float, float],
) -> Slice:
    number = int(inside.sum())
    if not number:
        return Slice(*which, 0, math.nan, math.nan, dict.fromkeys(COCO_METRICS, math.nan))
    everything = Correction.none(diagnosis)
    part = Correction(
        diagnosis,
        everything.points,
        everything.scores,
        everything.kept & np.append(inside, False)[owners],  # the last one stands for NOBODY
        ~inside,
    )
    oks = diagnosis.oks[inside]
    found = float((oks >= FOUND_FROM).mean())
    return Slice(*which, number, float(oks.mean()), found, part.evaluated(score))


def _owners(diagnosis: Diagnosis) -> NDArray[np.intp]:
    """(D,) the person each detection belongs to, `NOBODY` for the background."""
    double = diagnosis.nearest.similarities >= MATCH_THRESHOLD
    like = np.where(double, diagnosis.nearest.people, NOBODY)
    return np.where(diagnosis.matches == NOBODY, like, diagnosis.matches)


def _pairwise_iou(boxes_xywh: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]
    shared = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
    intersection = np.maximum(shared, 0).prod(axis=-1)
    areas = boxes_xywh[:, 2] * boxes_xywh[:, 3]
    union = areas[:, None] + areas - intersection
    return np.asarray(np.where(union > 0, intersection / np.where(union > 0, union, 1.0), 0.0))
