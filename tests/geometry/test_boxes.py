import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpn.geometry.boxes import box_iou, xywh_to_xyxy, xyxy_to_xywh

NUMBER = st.floats(-1e4, 1e4)


def test_conversions_by_hand() -> None:
    np.testing.assert_array_equal(xywh_to_xyxy([[1, 2, 3, 4]]), [[1, 2, 4, 6]])
    np.testing.assert_array_equal(xyxy_to_xywh([1, 2, 4, 6]), [1, 2, 3, 4])


@given(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER))
@settings(max_examples=50, derandomize=True)
def test_conversions_are_inverse(box: tuple[float, float, float, float]) -> None:
    np.testing.assert_allclose(xyxy_to_xywh(xywh_to_xyxy(box)), box, atol=1e-9)


def test_iou_by_hand() -> None:
    # A 2 x 2 box against itself shifted by one (1 of 7 in common), itself, one that only touches,
    # and one twice as high.
    ious = box_iou([[0, 0, 2, 2]], [[1, 1, 3, 3], [0, 0, 2, 2], [2, 0, 4, 2], [0, 0, 2, 4]])
    np.testing.assert_allclose(ious, [[1 / 7, 1.0, 0.0, 0.5]])


@pytest.mark.parametrize("empty", [[1, 1, 1, 3], [3, 3, 1, 1]])
def test_boxes_without_area_overlap_nothing(empty: list[float]) -> None:
    np.testing.assert_array_equal(box_iou([empty], [empty, [0.0, 0.0, 4.0, 4.0]]), [[0.0, 0.0]])


def test_iou_of_no_boxes() -> None:
    assert box_iou(np.zeros((0, 4)), np.zeros((3, 4))).shape == (0, 3)
