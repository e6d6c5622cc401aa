import math

import numpy as np
import pytest

from cpn.evaluation.diagnosis import (
    Property,
    Slice,
    diagnose,
    people_properties,
    score_slices,
)
from cpn.evaluation.diagnosis.instances import people_arrays
from cpn.evaluation.diagnosis.slices import largest_overlaps
from cpn.evaluation.ground_truth import GroundTruth
from cpn.evaluation.results import KeypointResult
from cpn.skeleton import COCO_17
from tests.error_recovery import draw_people, perfect
from tests.evaluation.diagnosis.scenes import BODY, SKELETON, moved, person, result, scorer, truth

BY_ID = Property("id", np.array([0.0, 1.0]), (0.5,))
DOWN = moved(BODY, y=300.0)
ONE = pytest.approx(1)  # pycocotools divides by tp + fp + a spacing


def slices(
    people: GroundTruth, results: list[KeypointResult], given: Property = BY_ID
) -> list[Slice]:
    return score_slices(diagnose(people, results, SKELETON), scorer(), properties=[given])


def aps(*found: Slice) -> list[float]:
    return [one.metrics["AP"] for one in found]


def test_every_slice_has_its_people_its_bounds_and_its_numbers() -> None:
    people = truth(person(1), person(2, DOWN), person(3, DOWN, image_id=2), images=(1, 2))
    results = [result(score=0.2), result(moved(DOWN, y=6.0), score=0.9)]  # OKS 1 and 0.70
    given = Property("age", np.array([3.0, 5.0, 7.0]), (5.0, 9.0))
    young, middle, old = slices(people, results, given)
    assert young[:6] == ("age", -math.inf, 5.0, 1, 1.0, 1.0)
    assert young.metrics["AP"] == ONE
    assert middle[:4] == ("age", 5.0, 9.0, 2)
    assert [middle.mean_oks, middle.found] == pytest.approx([math.exp(-0.36) / 2, 0.5])
    # one of two found, at 4 of 10 thresholds (0.5 to 0.65)
    assert middle.metrics["AP"] == pytest.approx(0.4 * 51 / 101)
    assert old[:4] == ("age", 9.0, math.inf, 0)
    assert math.isnan(old.mean_oks)
    assert math.isnan(old.found)
    assert all(math.isnan(number) for number in old.metrics.values())
    assert len(old.metrics) == 10


def test_a_bad_detection_of_someone_outside_costs_nothing_inside() -> None:
    people = truth(person(1), person(2, DOWN))
    bad = result(moved(DOWN, y=12.0), score=0.9)  # OKS 0.24: below every threshold of COCO's
    first, second = slices(people, [result(score=0.2), bad])
    assert aps(first, second) == pytest.approx([1, 0])
    assert [second.found, second.mean_oks] == pytest.approx([0, math.exp(-1.44)])


def test_a_double_costs_in_the_slice_of_its_person_only_and_the_background_in_none() -> None:
    people = truth(person(1), person(2, DOWN))
    double = result(moved(DOWN, y=14.0), score=0.8)  # OKS 0.14
    ghost = result(moved(BODY, x=9000.0), score=1.0)
    results = [ghost, result(score=0.1), result(DOWN, score=0.9), double, result(DOWN, score=0.1)]
    first, second = slices(people, results)
    assert aps(first, second) == pytest.approx([1, 1])
    worse = [ghost, result(score=0.1), result(moved(DOWN, y=6.0), score=0.9), result(DOWN)]
    first, second = slices(people, worse)  # the double is right from 0.75 on, after a wrong one
    assert aps(first, second) == pytest.approx([1, 0.4 + 0.6 / 2])


def test_a_detection_may_fall_on_someone_outside_without_being_wrong() -> None:
    """The first person's detection is more like the second one, whom another has taken.

    OKS 0.53 and 0.96: from 0.55 on it is a detection of the second, who is outside, and ignored.
    Were it wrong there, it would halve the precision of the third person's, who is inside.
    """
    second = person(2, moved(BODY, y=10.0))
    people = truth(person(1), second, person(3, image_id=2), images=(1, 2))
    results = [
        result(moved(BODY, y=17.0), score=0.9),
        result(moved(BODY, y=8.0), score=0.8),
        result(score=0.5, image_id=2),
    ]
    inside, _ = slices(people, results, Property("x", np.array([0.0, 1.0, 0.0]), (0.5,)))
    assert inside.metrics["AP"] == pytest.approx(0.1 + 0.9 * 51 / 101)


def test_crowds_and_who_has_no_value_are_in_no_slice() -> None:
    people = truth(person(1, crowd=True), person(2, DOWN), person(3))
    values = Property("x", np.array([0.0, 0.0, math.nan]), (0.5,))
    below, above = slices(people, [result(DOWN), result()], values)
    assert (below.num_people, above.num_people) == (1, 0)
    assert below.metrics["AP"] == ONE


def test_one_slice_of_all_is_ap_without_the_background() -> None:
    rng = np.random.default_rng(0)
    crowd = draw_people(20, rng)
    results = perfect(crowd, rng)
    everyone = Property("all", np.zeros(len(crowd.poses)), ())
    (only,) = score_slices(
        diagnose(crowd.truth, results, COCO_17), scorer(COCO_17), properties=[everyone]
    )
    assert dict(only.metrics) == scorer(COCO_17)(crowd.truth, results)
    assert only.num_people == len(crowd.poses)


def test_the_properties_by_hand() -> None:
    people = people_arrays(
        truth(
            person(1, v=(2, 1, 0), box=(0, 0, 10, 20)),
            person(2, v=(2, 2, 2), box=(5, 0, 10, 20)),  # 100 of 300 shared
            person(3, box=(5, 0, 10, 20), image_id=2),
            person(4, box=(0, 0, 0, 20), image_id=2),
            images=(1, 2),
        ),
        3,
    )
    labelled, visible, overlap, area, aspect = people_properties(people)
    assert labelled.values.tolist() == [2, 3, 3, 3]
    assert visible.values.tolist() == [1, 3, 3, 3]
    np.testing.assert_allclose(overlap.values, [1 / 3, 1 / 3, 0, 0])
    assert area.values.tolist() == [200, 200, 200, 0]
    np.testing.assert_allclose(aspect.values, [0.5, 0.5, 0.5, math.nan])


def test_edges_of_keypoint_numbers_are_the_paper_s_for_coco_and_grow_with_k() -> None:
    assert people_properties(people_arrays(truth(), 17))[0].edges == (6, 11, 16)
    assert people_properties(people_arrays(truth(), 34))[0].edges == (11, 21, 31)
    for k in range(1, 40):
        edges = people_properties(people_arrays(truth(), k))[0].edges
        assert list(edges) == sorted(edges)


def test_overlap_counts_crowds_and_takes_the_largest() -> None:
    people = truth(
        person(1, box=(0, 0, 10, 10)),
        person(2, box=(0, 5, 10, 10)),  # 50 of 150
        person(3, box=(0, 0, 10, 9), crowd=True),  # 90 of 100; 40 of 150 with the second
    )
    np.testing.assert_allclose(largest_overlaps(people_arrays(people, 3)), [0.9, 1 / 3, 0.9])


def test_with_nobody_there_all_slices_are_empty() -> None:
    found = score_slices(diagnose(truth(), [result()], SKELETON), scorer())
    assert len(found) == 20
    assert {s.num_people for s in found} == {0}
