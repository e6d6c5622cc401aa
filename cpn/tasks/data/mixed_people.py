"""Who is trained on: the people of data.train, and those of data.mix."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cpn.config.data_schema import DataConfig, MixedConfig
from cpn.data.annotations import PersonAnnotations, read_person_annotations
from cpn.data.epoch_batches import Part
from cpn.data.mixing import in_skeleton, mix
from cpn.data.persons import PersonInstances
from cpn.data.standards import Standards
from cpn.errors import UserError
from cpn.skeleton import Skeleton

logger = logging.getLogger(__name__)


class TrainingPeople(NamedTuple):
    """Who is trained on.

    Attributes:
        people: with the skeleton of data.train.
        parts: see `EpochBatchSampler`; none where there is but one set.
    """

    people: PersonAnnotations
    parts: Sequence[Part]


def with_mixed_people(
    people: PersonAnnotations, data: DataConfig, *, tell: bool = True
) -> TrainingPeople:
    """Adds the people of data.mix to those of data.train.

    Args:
        people: of data.train.
        data: its `mix` is read.
        tell: whether to log what is added; on one rank.

    Raises:
        UserError: a file is missing or broken, or has no keypoint that is wanted.
    """
    if not data.mix:
        return TrainingPeople(people, ())
    added = [read_mixed(data, number, people.skeleton) for number in range(len(data.mix))]
    weights = [1.0, *(mixed.weight for mixed in data.mix)]
    found = mix([people.instances, *added], weights)
    if tell:
        for mixed, instances in zip(data.mix, added, strict=True):
            _tell(mixed, instances, people.skeleton)
        drawn = sum(part.drawn for part in found.parts)
        logger.info(
            "data.mix: an epoch has %d people, of data.train %d", drawn, len(people.instances)
        )
    return TrainingPeople(replace(people, instances=found.instances), found.parts)


def read_mixed(data: DataConfig, number: int, skeleton: Skeleton) -> PersonInstances:
    """The people of one set of data.mix, with the keypoints of data.train's skeleton.

    Raises:
        UserError: as `with_mixed_people`.
    """
    mixed: MixedConfig = data.mix[number]
    path = Path(mixed.annotations)
    if not path.is_file():
        raise UserError(f"data.mix.{number}.annotations={path}: no such file")
    people = read_person_annotations(
        path,
        Path(mixed.images),
        sigmas="default",  # nobody is evaluated by them
        flip_pairs=[],  # people are mirrored in the skeleton of data.train
        limit=mixed.limit,
        standards=Standards(max_megapixels=data.max_megapixels),
    )
    return in_skeleton(people, skeleton, mixed.keypoints, min_keypoints=data.min_keypoints)


def _tell(mixed: MixedConfig, instances: PersonInstances, skeleton: Skeleton) -> None:
    counts = np.count_nonzero(instances.keypoints[..., 2], axis=0).tolist()
    names = zip(skeleton.keypoint_names, counts, strict=True)
    missing = [name for name, count in names if not count]
    logger.info(
        "data.mix: %d people of %s, weight %g; without %s",
        *(len(instances), mixed.annotations, mixed.weight, ", ".join(missing) or "nothing"),
    )
