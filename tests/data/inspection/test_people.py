"""One fault at a time in a person of two keypoints, in a photo of 100 x 80."""

import numpy as np
import pytest

from cpn.coco.records import box_problem
from cpn.data.inspection.people import has_box, inspect_people, overhang
from tests.data.inspection.people_of import people_of, told

INSIDE = [[20, 20, 2], [30, 60, 1]]


def test_nothing_is_wrong() -> None:
    assert inspect_people(people_of([INSIDE, INSIDE])) == []


def test_nobody_is_no_fault() -> None:
    assert inspect_people(people_of(np.zeros((0, 2, 3)), boxes=np.zeros((0, 4)))) == []


@pytest.mark.parametrize(
    ("box", "severity", "words"),
    [
        ([10, 10, 40, 0], "warning", "the box has"),
        ([10, 10, -1, 60], "warning", "the box has"),
        ([100, 10, 40, 60], "warning", "the box lies"),
        ([10, -70, 40, 70], "warning", "the box lies"),
        ([10, 10, 93, 60], "note", "the box reaches"),
        ([-3, 10, 40, 60], "note", "the box reaches"),
        ([-2, 10, 104, 60], None, ""),
    ],
)
def test_boxes(box: list[float], severity: str | None, words: str) -> None:
    people = people_of([[[0, 0, 0], [0, 0, 0]]] * 2, boxes=[[10, 10, 40, 60], box])
    found = [each for each in told(inspect_people(people)) if "box" in each[2]]
    assert found == ([(severity, (2,), words)] if severity else [])


def test_who_has_a_box_is_who_can_be_cropped() -> None:
    boxes = [(10.0, 10.0, 40.0, height) for height in (-1.0, 0.0, 0.0009, 0.001, 60.0)]
    people = people_of(np.zeros((5, 2, 3)), boxes=boxes)
    assert has_box(people).tolist() == [not box_problem(box) for box in boxes]
    assert has_box(people).tolist() == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ([102, 20, 2], "labelled keypoints lie"),
        ([20, -2, 1], "labelled keypoints lie"),
        ([-1, 20, 1], None),  # a pixel outside is rounding
        ([80, 20, 2], None),  # 30 right of the box, which is 60 high
        ([81, 20, 2], "labelled keypoints lie"),
        ([0, 0, 1], "keypoints at x"),
        ([0, 0, 0], None),
    ],
)
def test_keypoints(point: list[float], words: str | None) -> None:
    found = told(inspect_people(people_of([INSIDE, [[20, 20, 2], point]])))
    assert found == ([("warning", (2,), f"{words}")] if words else [])


def test_outside_the_photo_and_the_box_are_told_apart() -> None:
    people = people_of([[[81, 20, 2]], [[102, 20, 2]]])
    first, second = inspect_people(people)
    assert ("outside the photo" in first.what, first.ids) == (True, (2,))
    assert ("outside the box" in second.what, second.ids) == (True, (1,))


def test_people_without_labels_are_a_warning_when_they_are_most() -> None:
    nothing = [[0, 0, 0], [0, 0, 0]]
    assert told(inspect_people(people_of([INSIDE, nothing]))) == [("note", (2,), "no keypoint is")]
    found = told(inspect_people(people_of([INSIDE, nothing, nothing])))
    assert found == [("warning", (2, 3), "no keypoint is")]


def test_a_set_without_visible_keypoints_is_told() -> None:
    hidden = [[20, 20, 1], [30, 60, 1]]
    assert told(inspect_people(people_of([hidden]))) == [("warning", (), "no keypoint of")]


@pytest.mark.parametrize(("area", "wrong"), [(23, True), (25, False), (2500, False), (2521, True)])
def test_an_area_is_a_part_of_the_box(area: float, wrong: bool) -> None:
    """The box is 40 x 60 = 2400; 1 % of it is 24, 105 % are 2520."""
    found = told(inspect_people(people_of([INSIDE], areas=[area])))
    assert found == ([("warning", (1,), "'area' is not")] if wrong else [])


def test_a_missing_area_is_not_judged() -> None:
    assert inspect_people(people_of([INSIDE], areas=[float("nan")])) == []


def test_overhang_is_the_larger_of_both_directions() -> None:
    points = np.array([[[5.0, 5], [-2, 5], [13, 24]]])
    low, high = np.zeros((1, 2)), np.array([[10.0, 20]])
    assert overhang(points, low, high).tolist() == [[0, 2, 4]]
