"""What is wrong with a keypoint: jitter, inversion, swap or miss.

Source: Ronchi and Perona, "Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation",
ICCV 2017, section 3.1.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cpn.evaluation.diagnosis.instances import Detections, People, Scene
from cpn.evaluation.oks import keypoint_similarities
from cpn.skeleton import Skeleton

GOOD_ABOVE = 0.85
"""Keypoint similarity within which human annotators differ, too."""

NEAR_FROM = 0.5
"""Keypoint similarity from which on a keypoint is near a place."""


class KeypointError(IntEnum):
    """What became of one keypoint of one annotated person."""

    NONE = 0
    """Not labelled, or no detection is of this person: nothing can be said."""
    GOOD = 1
    JITTER = 2
    INVERSION = 3
    SWAP = 4
    MISS = 5


class KeypointErrors(NamedTuple):
    """For G persons and K keypoints.

    Attributes:
        kinds: (G, K) int8, values of `KeypointError`.
        similarities: (G, K) similarity with the place the keypoint is nearest to: its own, its
            flip partner's or one of another person; 0 where the kind is NONE.
    """

    kinds: NDArray[np.int8]
    similarities: NDArray[np.float64]


def keypoint_errors(
    scenes: Iterable[Scene],
    people: People,
    detections: Detections,
    matches: NDArray[np.intp],
    skeleton: Skeleton,
) -> KeypointErrors:
    """Tell the errors of every matched person's labelled keypoints apart.

    A keypoint is good when its similarity with its own place is above 0.85, whatever else is
    there. Else the place that it is nearest to decides, by similarity: its own makes a jitter, its
    flip partner's an inversion, the same or the flip partner's keypoint of anyone else in the
    image a swap; of equals the first named. A miss is near none (similarity below 0.5). Each place
    is measured on the scale of the person it belongs to.

    Args:
        scenes: the images with detections.
        people: G persons; crowds and others that are ignored have no errors of their own, but one
            may swap with their labelled keypoints.
        detections: D detections.
        matches: (D,) index of the person that a detection is of, -1 for nobody.
        skeleton: the K keypoints; without flip pairs there is no inversion.
    """
    shape = people.labelled.shape
    errors = KeypointErrors(np.zeros(shape, np.int8), np.zeros(shape))
    counted = people.counted
    for scene in scenes:
        owners = matches[scene.detections]
        rows = np.flatnonzero(owners >= 0)
        rows = rows[counted[owners[rows]]]
        if len(rows):
            own = owners[rows]
            points = detections.points[scene.detections[rows]]
            errors.kinds[own], errors.similarities[own] = _tell_apart(
                points, own, people, scene.people, skeleton
            )
    return errors


def _tell_apart(
    points: NDArray[np.float64],
    owners: NDArray[np.intp],
    people: People,
    present: NDArray[np.intp],
    skeleton: Skeleton,
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """(M, K) kinds and similarities of M poses of one image, each owned by one who is present."""
    flip = np.array(skeleton.flip_permutation)
    same = _similarities(points, people, present, np.arange(len(flip)), skeleton)
    flipped = _similarities(points, people, present, flip, skeleton)
    rows, columns = np.nonzero(owners[:, None] == present)
    own, inverted = same[rows, columns].copy(), flipped[rows, columns].copy()
    same[rows, columns] = flipped[rows, columns] = 0
    others = np.maximum(same, flipped).max(axis=1)
    nearest = np.maximum(np.maximum(own, inverted), others)
    labelled = people.labelled[owners]
    # A keypoint without partner is its own: equally near, and the own place comes first.
    kinds = np.select(
        [~labelled, own > GOOD_ABOVE, nearest < NEAR_FROM, own == nearest, inverted == nearest],
        [
            KeypointError.NONE,
            KeypointError.GOOD,
            KeypointError.MISS,
            KeypointError.JITTER,
            KeypointError.INVERSION,
        ],
        KeypointError.SWAP,
    )
    return kinds.astype(np.int8), np.where(labelled, nearest, 0.0)


def _similarities(
    points: NDArray[np.float64],
    people: People,
    present: NDArray[np.intp],
    order: NDArray[np.intp],
    skeleton: Skeleton,
) -> NDArray[np.float64]:
    """(M, G, K) of predicted keypoint k with keypoint order[k] of all present; 0 if unlabelled."""
    truths = people.keypoints[present][:, order]
    similarities = keypoint_similarities(
        points[:, None] - truths[None, ..., :2],
        areas=people.areas[present][None],
        sigmas=np.array(skeleton.sigmas)[order].tolist(),
    )
    return np.where(truths[None, ..., 2] > 0, similarities, 0.0)
