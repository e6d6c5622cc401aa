import contextlib
import io
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cpn.evaluation.diagnosis.instances import (
    Scene,
    detection_arrays,
    find_scenes,
    people_arrays,
)
from cpn.evaluation.diagnosis.matching import match_detections, nearest_people
from cpn.evaluation.ground_truth import GroundTruth, Person
from cpn.evaluation.results import KeypointResult
from cpn.skeleton import COCO_17
from tests.evaluation.diagnosis.scenes import BODY, SKELETON, moved, person, result, truth

BELOW = moved(BODY, y=6.0)  # exp(-36 / 100) = 0.70 like the body


def matches(
    people: Sequence[Person], results: Sequence[KeypointResult], threshold: float = 0.1
) -> list[int]:
    persons = people_arrays(truth(*people), 3)
    scenes = find_scenes(persons, detection_arrays(results, 3), sigmas=SKELETON.sigmas)
    found = match_detections(scenes, persons, num_detections=len(results), threshold=threshold)
    return [int(index) for index in found]


def test_the_highest_score_chooses_first() -> None:
    worse, better = result(BELOW, score=0.9), result(BODY, score=0.8)
    assert matches([person(1)], [better, worse]) == [-1, 0]
    assert matches([person(1), person(2, BELOW)], [better, worse]) == [0, 1]


def test_of_equal_scores_the_first_result_chooses_first() -> None:
    assert matches([person(1)], [result(BELOW), result(BODY)]) == [0, -1]


@pytest.mark.parametrize(("threshold", "expected"), [(0.69, [0]), (0.70, [-1])])
def test_below_the_threshold_nobody_is_matched(threshold: float, expected: list[int]) -> None:
    assert matches([person(1)], [result(BELOW)], threshold) == expected  # OKS 0.698


def test_a_person_who_counts_comes_before_a_crowd_and_a_crowd_takes_any_number() -> None:
    crowd, other = person(1, crowd=True), person(2, BELOW)
    assert matches([crowd, other], [result(), result(), result()]) == [1, 0, 0]


def test_a_person_without_keypoints_takes_one_by_the_box() -> None:
    nobody = person(1, v=(0, 0, 0))
    assert matches([nobody], [result(), result()]) == [0, -1]


def test_the_nearest_person_is_told_whoever_else_is_near_but_not_a_crowd() -> None:
    persons = people_arrays(truth(person(1, crowd=True), person(2, BELOW)), 3)
    results = [result(), result(), result(moved(BODY, x=1e6))]
    scenes = find_scenes(persons, detection_arrays(results, 3), sigmas=SKELETON.sigmas)
    nearest = nearest_people(scenes, persons, num_detections=3)
    assert nearest.people.tolist() == [1, 1, -1]
    np.testing.assert_allclose(nearest.similarities, [np.exp(-0.36), np.exp(-0.36), 0])


def random_case(seed: int) -> tuple[GroundTruth, list[KeypointResult]]:
    """Two images with people on top of each other, crowds, unlabelled ones, ties, 25 results."""
    rng = np.random.default_rng(seed)
    k = 17
    persons = []
    for index in range(rng.integers(0, 8)):
        keypoints = np.c_[rng.uniform(0, 100, (k, 2)), rng.integers(0, 3, k)]
        keypoints[:, 2] *= rng.random() < 0.8
        box = rng.uniform(1, 100, 4).tolist()
        crowd = int(rng.random() < 0.2)
        area = float(rng.choice([400.0, 4000.0, 40000.0]))
        image_id = int(rng.integers(1, 3))
        persons.append(Person(index, image_id, keypoints.ravel().tolist(), box, area, crowd))
    results = []
    for _ in range(rng.integers(0, 50)):
        points = rng.uniform(0, 100, (k, 2))
        if persons and rng.random() < 0.7:
            liked = np.array(persons[rng.integers(len(persons))].keypoints).reshape(k, 3)[:, :2]
            points = liked + rng.normal(0, rng.choice([0.0, 3.0, 12.0]), (k, 2))
        keypoints = np.c_[points, np.ones(k)].ravel().tolist()
        score = float(rng.choice([0.2, 0.4, rng.random()]))
        results.append(KeypointResult(int(rng.integers(1, 3)), 1, keypoints, score))
    return GroundTruth("case", 1, COCO_17.keypoint_names, (1, 2), tuple(persons)), results


def pycocotools_matches(
    case: GroundTruth, results: Sequence[KeypointResult], threshold: float
) -> list[int]:
    plain = [msgspec.structs.asdict(record) for record in results]
    for record in plain:
        record.pop("bbox")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = case.to_coco()  # annotation ids are 1 + index
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(plain), "keypoints")
        evaluation.params.iouThrs = np.array([threshold])
        evaluation.evaluate()
    found = [-1] * len(results)
    for image in evaluation.evalImgs:
        if image is not None and image["aRng"] == [0, 1e10]:
            for index, match in zip(image["dtIds"], image["dtMatches"][0], strict=True):
                found[index - 1] = int(match) - 1
    return found


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 0.5, 0.75]))
@settings(max_examples=60, deadline=None)
def test_equals_pycocotools(seed: int, threshold: float) -> None:
    case, results = random_case(seed)
    if not results:
        return
    persons = people_arrays(case, 17)
    scenes = find_scenes(persons, detection_arrays(results, 17), sigmas=COCO_17.sigmas)
    found = match_detections(scenes, persons, num_detections=len(results), threshold=threshold)
    assert found.tolist() == pycocotools_matches(case, results, threshold)


def test_a_scene_without_people_matches_nobody() -> None:
    scene = Scene(np.array([0, 1]), np.zeros(0, np.intp), np.zeros((2, 0)))
    persons = people_arrays(truth(), 3)
    assert match_detections([scene], persons, num_detections=2).tolist() == [-1, -1]
    assert nearest_people([scene], persons, num_detections=2).people.tolist() == [-1, -1]
