"""Twenty people whose keypoints span their boxes, written in other ways."""

import numpy as np
import pytest

from cpn.data.inspection.layout import inspect_layout
from cpn.data.persons import FloatArray
from tests.data.inspection.people_of import people_of

COUNT = 20


def _boxes() -> FloatArray:
    rng = np.random.default_rng(0)
    low = rng.uniform(100, 400, (COUNT, 2)) * (1, 0.5)
    return np.hstack([low, rng.uniform(40, 60, (COUNT, 2)) * (1, 2)])


def _points(boxes: FloatArray) -> FloatArray:
    """(N, 3, 3): at a tenth and nine tenths of the box, and one that is not labelled."""
    low, size = boxes[:, :2], boxes[:, 2:]
    points = np.stack([low + size * share for share in (0.1, 0.9, 30)], axis=1)
    v = np.tile([2.0, 2, 0], (COUNT, 1))
    return np.dstack([points, v])


def test_coco_s_way_is_right() -> None:
    boxes = _boxes()
    assert inspect_layout(people_of(_points(boxes), boxes=boxes, size_wh=(640, 480))) == []


def test_corners_centres_and_exchanged_axes_are_recognised() -> None:
    boxes = _boxes()
    points = _points(boxes)
    low, size = boxes[:, :2], boxes[:, 2:]
    written = {
        "x1, y1, x2, y2": (np.hstack([low, low + size]), points),
        "centre x, centre y": (np.hstack([low + size / 2, size]), points),
        "y before x": (boxes, points[..., [1, 0, 2]]),
    }
    for words, (given_boxes, given_points) in written.items():
        people = people_of(given_points, boxes=given_boxes, size_wh=(640, 480))
        (finding,) = inspect_layout(people)
        assert finding.severity == "error"
        assert words in finding.what
        assert "by 0.64 (median IoU)" in finding.what  # 0.8 of the width, 0.8 of the height


def test_few_people_and_single_keypoints_prove_nothing() -> None:
    boxes = _boxes()
    points = _points(boxes)
    corners = np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
    assert inspect_layout(people_of(points, boxes=corners).take(range(4))) == []
    assert inspect_layout(people_of(points, boxes=corners).take(range(5))) != []
    points[:, 1, 2] = 0
    assert inspect_layout(people_of(points, boxes=corners)) == []


def test_keypoints_that_fill_little_of_any_box_prove_nothing() -> None:
    boxes = _boxes()
    points = _points(boxes)
    points[:, 1, :2] = points[:, 0, :2] + 5
    centres = np.hstack([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]])
    assert inspect_layout(people_of(points, boxes=centres)) == []


@pytest.mark.parametrize(
    ("points", "box", "named"),
    [
        ([[0.2, 0.9, 2], [50, 50, 0]], [10, 10, 40, 60], "'keypoints'"),
        ([[20, 30, 2], [1, 1, 2]], [0.1, 0.2, 0.5, 1], "'bbox'"),
        ([[0.2, 1, 2], [0, 0, 0]], [0.1, 0.2, 0.5, 1], "'keypoints' and 'bbox'"),
        ([[0.2, 1.1, 2], [0, 0, 0]], [0.1, 0.2, 0.5, 1.1], None),
        ([[0, 0, 0], [0, 0, 0]], [0, 0, 0, 0], None),
    ],
)
def test_normalised_coordinates(
    points: list[list[float]], box: list[float], named: str | None
) -> None:
    found = inspect_layout(people_of([points], boxes=[box]))
    expected = [f"all values of {named} are between 0 and 1"] if named else []
    assert [finding.what for finding in found] == expected
