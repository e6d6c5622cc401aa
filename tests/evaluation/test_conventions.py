"""PCKh as MPII has it and CrowdPose's levels, on small cases computed by hand."""

import math
from typing import Any

import numpy as np
import pytest

from cpn.evaluation import evaluate_keypoints, read_ground_truth
from cpn.evaluation.conventions import (
    average_precision_by_crowding,
    crowd_levels,
    head_lengths,
    pck_metrics,
)
from cpn.evaluation.ground_truth import GroundTruth
from cpn.skeleton import Skeleton

NAMES = ("pelvis", "thorax", "upper_neck", "head_top", "left_wrist", "right_wrist")
MPII_LIKE = Skeleton(NAMES, ((4, 5),), (), (0.1,) * 6)


def _person(annotation_id: int, image_id: int, **more: Any) -> dict[str, Any]:
    keypoints = [value for k in range(6) for value in (10 * k, 50, 2)]
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": 1,
        "bbox": [0, 0, 60, 60],
        "area": 1000,
        "keypoints": keypoints,
    } | more


def _truth(images: list[dict[str, Any]], *people: dict[str, Any]) -> GroundTruth:
    category = {"id": 1, "name": "person", "keypoints": list(NAMES)}
    return read_ground_truth({"images": images, "annotations": people, "categories": [category]})


def test_heads_are_measured_by_six_tenths_of_their_boxes_diagonal() -> None:
    truth = _truth([{"id": 1}], _person(4, 1, head_box=[9, 9, 30, 40]), _person(5, 1))
    lengths = head_lengths(truth, np.array([5, 4]))
    assert lengths is not None
    assert math.isnan(lengths[0])
    assert lengths[1] == pytest.approx(0.6 * 50)
    assert head_lengths(truth, np.array([5])) is None


def test_pckh_leaves_out_pelvis_thorax_and_people_without_a_head_box() -> None:
    people = np.zeros((2, 6, 3))
    people[..., 0], people[..., 2] = 10 * np.arange(6), 2
    people[0, 3, 2] = 0  # head_top is not labelled
    points = people[..., :2].copy()
    points[0, :2] += 500  # pelvis and thorax do not count
    points[0, 2, 1] += 10  # upper_neck: within 0.5 of 30, not within 0.1
    points[0, 4, 1] += 16  # left_wrist: beyond 0.5 of 30
    points[1] += 500  # has no head box
    metrics = pck_metrics(points, people, MPII_LIKE, np.array([30.0, np.nan]))
    # Counted: upper_neck, left_wrist, right_wrist of the first person.
    assert metrics["PCKh"] == pytest.approx(2 / 3)
    assert metrics["PCKh@0.1"] == pytest.approx(1 / 3)
    assert metrics["PCKh-head"] == 1
    assert metrics["PCKh-wrist"] == 0.5
    assert "PCKh-knee" not in metrics
    assert math.isnan(metrics["PCK"])  # no torso


def test_without_head_boxes_the_head_is_as_long_as_its_keypoints_say() -> None:
    people = np.zeros((1, 6, 3))
    people[..., 0], people[..., 2] = 10 * np.arange(6), 2
    metrics = pck_metrics(people[..., :2], people, MPII_LIKE)
    assert metrics["PCKh"] == 1
    assert "PCKh@0.1" not in metrics


IMAGES: list[dict[str, Any]] = [
    {"id": 1, "crowdIndex": 0.0},
    {"id": 2, "crowdIndex": 0.199},
    {"id": 3, "crowdIndex": 0.2},
    {"id": 4, "crowdIndex": 0.8},
    {"id": 5, "crowdIndex": 1},
]


def test_photos_are_easy_medium_or_hard_by_their_crowd_index() -> None:
    truth = _truth(IMAGES, _person(1, 1))
    assert crowd_levels(truth) == {"easy": {1, 2}, "medium": {3}, "hard": {4, 5}}
    without = _truth([*IMAGES, {"id": 6}], _person(1, 1))
    assert crowd_levels(without) == {}
    assert average_precision_by_crowding(without, lambda _: 1.0) == {}
    assert crowd_levels(_truth([{"id": 1}], _person(1, 1))) == {}


def test_every_level_has_its_own_average_precision() -> None:
    truth = _truth(IMAGES[:3], _person(1, 1))
    found = average_precision_by_crowding(truth, lambda image_ids: float(len(image_ids)))
    assert (found["AP-easy"], found["AP-medium"]) == (2, 1)
    assert math.isnan(found["AP-hard"])


def test_each_level_is_scored_by_its_own_photos() -> None:
    """One photo per level: found exactly, found far off, not found."""
    images = [IMAGES[0], IMAGES[2], IMAGES[3]]
    people = [_person(k, image["id"]) for k, image in enumerate(images, 1)]
    truth = _truth(images, *people)
    shifted = [value + 500 * (k % 3 == 0) for k, value in enumerate(people[1]["keypoints"])]
    results = [
        {"image_id": 1, "category_id": 1, "keypoints": people[0]["keypoints"], "score": 0.5},
        {"image_id": 3, "category_id": 1, "keypoints": shifted, "score": 0.9},
    ]

    def average_precision(image_ids: Any) -> float:
        return evaluate_keypoints(truth, results, sigmas=(0.1,) * 6, image_ids=image_ids)["AP"]

    found = average_precision_by_crowding(truth, average_precision)
    assert found == {"AP-easy": pytest.approx(1), "AP-medium": 0, "AP-hard": 0}
