import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cpn.geometry.boxes import xywh_to_xyxy, xyxy_to_xywh

NUMBER = st.floats(-1e4, 1e4)


def test_conversions_by_hand() -> None:
    np.testing.assert_array_equal(xywh_to_xyxy([[1, 2, 3, 4]]), [[1, 2, 4, 6]])
    np.testing.assert_array_equal(xyxy_to_xywh([1, 2, 4, 6]), [1, 2, 3, 4])


@given(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER))
@settings(max_examples=50, derandomize=True)
def test_conversions_are_inverse(box: tuple[float, float, float, float]) -> None:
    np.testing.assert_allclose(xyxy_to_xywh(xywh_to_xyxy(box)), box, atol=1e-9)
