import numpy as np
import pytest

from cpn.evaluation.diagnosis import diagnose
from cpn.evaluation.diagnosis.instances import detection_arrays, find_scenes, people_arrays
from cpn.evaluation.diagnosis.scoring import optimal_scores
from cpn.evaluation.ground_truth import Person
from cpn.evaluation.results import KeypointResult
from tests.evaluation.diagnosis.scenes import BODY, SKELETON, moved, person, result, truth


def off(pixels: float, score: float = 0.5) -> KeypointResult:
    """OKS exp(-pixels^2 / 100)."""
    return result(moved(BODY, y=pixels), score=score)


def better(people: list[Person], results: list[KeypointResult]) -> list[int | None]:
    return [p.better_result for p in diagnose(truth(*people), results, SKELETON).persons]


def scores(people: list[Person], results: list[KeypointResult]) -> list[float]:
    persons = people_arrays(truth(*people), 3)
    scenes = find_scenes(persons, detection_arrays(results, 3), sigmas=SKELETON.sigmas)
    return list(optimal_scores(scenes, persons, num_detections=len(results)))


def test_a_better_detection_with_a_lower_score_is_a_score_error_the_best_one_is_named() -> None:
    assert better([person(1)], [off(6, 0.9), off(3, 0.8), off(0, 0.7), off(4, 0.6)]) == [2]


def test_the_best_detection_first_is_no_score_error() -> None:
    assert better([person(1)], [off(0, 0.9), off(3, 0.8)]) == [None]
    assert better([person(1)], [off(3, 0.9), off(3, 0.8)]) == [None]  # equally good


def test_a_better_one_that_had_to_take_the_neighbour_is_a_score_error_too() -> None:
    """The second detection is right on the first person, but a worse one was there before it."""
    people = [person(1), person(2, moved(BODY, y=12.0))]
    assert better(people, [off(4, 0.9), off(0, 0.8)]) == [1, None]


def test_nobody_found_is_no_score_error() -> None:
    assert better([person(1)], []) == [None]
    assert better([person(1)], [off(1000)]) == [None]
    assert better([person(1, crowd=True), person(2)], [off(6, 0.9)]) == [None]
    # Two in one place: pycocotools gives the detection to the last one.
    assert better([person(1), person(2)], [off(6, 0.9)]) == [None, None]


def test_the_best_of_each_person_scores_its_oks_and_doubles_come_last() -> None:
    found = scores([person(1)], [off(6, 0.9), off(3, 0.1), off(1000, 0.5)])
    np.testing.assert_allclose(found, [np.exp(-0.36) - 1, np.exp(-0.09), -1])


def test_pairs_are_taken_from_the_most_similar_one_on() -> None:
    # first: 2 off person 1, 8 off person 2; second: 3 off person 1, 13 off person 2
    people = [person(1), person(2, moved(BODY, y=10.0))]
    np.testing.assert_allclose(scores(people, [off(2), off(-3)]), np.exp([-0.04, -1.69]))


def test_only_pairs_from_a_tenth_on_are_taken_and_only_people_who_count() -> None:
    np.testing.assert_allclose(scores([person(1)], [off(15.17)]), [np.exp(-(1.517**2))])  # 0.1001
    np.testing.assert_allclose(scores([person(1)], [off(15.18)]), [np.exp(-(1.518**2)) - 1])
    assert scores([person(1, crowd=True)], [off(0)]) == [-1]
    assert scores([], [off(0)]) == [-1]


@pytest.mark.parametrize("people", [[], [person(1)]])
def test_no_detections(people: list[Person]) -> None:
    assert scores(people, []) == []
