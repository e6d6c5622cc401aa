import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpn.geometry.box_nms import box_iou, hard_box_nms, soft_box_nms

# Of 10 x 10, moved along x: IoU with the first 9/11 = 0.82, 5/15 = 1/3, 0.
ROW = np.array([[x, 0.0, x + 10.0, 10.0] for x in (0.0, 1.0, 5.0, 40.0)])
SCORES = np.array([0.9, 0.8, 0.7, 0.6])
SOFT: Any = {"threshold": 0.5, "sigma": 0.5, "floor": 0.0}


def test_overlaps_by_hand() -> None:
    np.testing.assert_allclose(box_iou(ROW[0], ROW), [1, 9 / 11, 1 / 3, 0])
    empty = np.array([[3.0, 3.0, 3.0, 3.0]])
    assert box_iou(empty[0], empty).tolist() == [0.0]
    assert box_iou(ROW[0], np.zeros((0, 4))).tolist() == []


@pytest.mark.parametrize(
    ("threshold", "kept"), [(0.9, [0, 1, 2, 3]), (0.5, [0, 2, 3]), (0.3, [0, 3])]
)
def test_hard(threshold: float, kept: list[int]) -> None:
    found = hard_box_nms(ROW, SCORES, threshold=threshold)
    assert found.indices.tolist() == kept
    assert found.scores.tolist() == SCORES[kept].tolist()


def test_a_dropped_box_drops_no_other() -> None:
    # The third overlaps the second by 6/14 = 0.43, the first by 1/3: the second is gone.
    assert hard_box_nms(ROW[:3], SCORES[:3], threshold=0.4).indices.tolist() == [0, 2]


def test_soft_linear_by_hand() -> None:
    found = soft_box_nms(ROW, SCORES, method="linear", **SOFT)
    # Only the second is above 0.5, and falls to 0.8 * 2/11.
    assert found.indices.tolist() == [0, 2, 3, 1]
    np.testing.assert_allclose(found.scores, [0.9, 0.7, 0.6, 0.8 * 2 / 11])


def test_soft_gaussian_by_hand() -> None:
    found = soft_box_nms(ROW, SCORES, method="gaussian", **SOFT)
    third = 0.7 * math.exp(-((1 / 3) ** 2) / 0.5)  # 0.56: after the fourth
    second = 0.8 * math.exp(-((9 / 11) ** 2) / 0.5) * math.exp(-((6 / 14) ** 2) / 0.5)
    assert found.indices.tolist() == [0, 3, 2, 1]
    np.testing.assert_allclose(found.scores, [0.9, 0.6, third, second])


def test_what_falls_below_the_floor_is_dropped() -> None:
    found = soft_box_nms(ROW, SCORES, method="linear", **{**SOFT, "floor": 0.2})
    assert found.indices.tolist() == [0, 2, 3]
    assert soft_box_nms(ROW, SCORES, method="linear", **{**SOFT, "floor": 1.0}).indices.size == 0


def test_of_equal_scores_the_first_is_best() -> None:
    same = np.full(2, 0.5)
    assert soft_box_nms(ROW[:2], same, method="linear", **SOFT).indices.tolist() == [0, 1]
    assert hard_box_nms(ROW[:2], same, threshold=0.5).indices.tolist() == [0]


def test_no_boxes() -> None:
    nothing, none = np.zeros((0, 4)), np.zeros(0)
    assert hard_box_nms(nothing, none, threshold=0.5).indices.size == 0
    assert soft_box_nms(nothing, none, method="gaussian", **SOFT).indices.size == 0


def test_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match=r"soft-NMS 'hard' is unknown; known: \['linear', 'gau"):
        soft_box_nms(ROW, SCORES, method="hard", **SOFT)  # type: ignore[arg-type]


@given(st.integers(0, 2**32 - 1), st.integers(0, 12))
@settings(max_examples=50, derandomize=True)
def test_soft_keeps_all_once_by_falling_scores(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 20, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 20, (count, 2))], axis=1)
    scores = rng.uniform(0, 1, count)
    found = soft_box_nms(boxes, scores, method="gaussian", **SOFT)
    assert sorted(found.indices.tolist()) == list(range(count))
    assert (np.diff(found.scores) <= 0).all()
    assert (found.scores <= scores[found.indices]).all()
