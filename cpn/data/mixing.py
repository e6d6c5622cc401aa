"""Several data sets as one to train on: other skeletons, and how often each is seen."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cpn.data.annotations import PersonAnnotations
from cpn.data.epoch_batches import Part
from cpn.data.persons import PersonInstances
from cpn.errors import UserError
from cpn.skeleton import Skeleton


class Mixed(NamedTuple):
    """People of one skeleton from several sets.

    Attributes:
        instances: set after set, each as many times as an epoch may have its people.
        parts: how many of them an epoch draws.
    """

    instances: PersonInstances
    parts: tuple[Part, ...]


def mix(sets: Sequence[PersonInstances], weights: Sequence[float]) -> Mixed:
    """Joins sets; with weight 2.5 an epoch has each person twice, and every second one once more.

    A person who comes several times in an epoch is varied anew each time.

    Args:
        sets: with the same keypoints; none is empty.
        weights: of each, above 0.
    """
    copies, parts, start = [], [], 0
    for people, weight in zip(sets, weights, strict=True):
        whole = math.floor(weight)
        rest = round((weight - whole) * len(people))
        for drawn in [*[len(people)] * whole, *([rest] if rest else [])]:
            copies.append(people)
            parts.append(Part(start, len(people), drawn))
            start += len(people)
    return Mixed(PersonInstances.joined(copies), tuple(parts))


def in_skeleton(
    people: PersonAnnotations,
    skeleton: Skeleton,
    names: Mapping[str, str] | None,
    *,
    min_keypoints: int,
) -> PersonInstances:
    """People with the keypoints of another skeleton; what theirs lacks is not labelled.

    Args:
        people: of any skeleton.
        skeleton: the wanted one.
        names: theirs by the wanted ones; None: the same names.
        min_keypoints: who has fewer labelled ones then is left out.

    Raises:
        UserError: a name that is not there, no name in common, or nobody left.
    """
    theirs = people.skeleton.keypoint_names
    if names is None:
        names = {name: name for name in skeleton.keypoint_names if name in theirs}
    unknown = [
        f"{name} (there are {list(known)})"
        for given, known in ((names.keys(), skeleton.keypoint_names), (names.values(), theirs))
        for name in given
        if name not in known
    ]
    if unknown or not names:
        problem = f"unknown keypoint {unknown[0]}" if unknown else f"no name of {list(theirs)} is"
        advice = "in data.mix.keypoints" if unknown else "one of data.train's: set keypoints={…}"
        raise UserError(f"{people.path}: {problem} {advice}")
    keypoints = np.zeros((len(people.instances), skeleton.num_keypoints, 3))
    columns = [skeleton.keypoint_names.index(name) for name in names]
    keypoints[:, columns] = people.instances.keypoints[:, [theirs.index(x) for x in names.values()]]
    known = (keypoints[..., 2] > 0).sum(axis=1) >= min_keypoints
    if not known.any():
        raise UserError(
            f"{people.path}: nobody has {min_keypoints} of the keypoints {list(names)} labelled;"
            " leave it out of data.mix, or map its names by keypoints={…}"
        )
    return people.instances.with_keypoints(keypoints).keep(known)
