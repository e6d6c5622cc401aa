import math

import pytest

from cpn.report.data import Curve, Figure, GalleryItem


def test_a_curve_needs_as_many_precisions_as_recalls() -> None:
    with pytest.raises(ValueError, match=r"'OKS 0\.50' needs as many precisions as recalls"):
        Curve("OKS 0.50", [0.0, 0.5], [1.0])
    with pytest.raises(ValueError, match="at least one, got 0 and 0"):
        Curve("OKS 0.50", [], [])


def test_size_is_the_root_of_the_box_s_area() -> None:
    assert GalleryItem([], 1, None, [5, 5, 40, 90]).size == pytest.approx(60)


@pytest.mark.parametrize("box", [[1, 2, 3], [1, 2, 3, math.nan]])
def test_a_box_is_four_finite_numbers(box: list[float]) -> None:
    with pytest.raises(ValueError, match="image 7: box_xywh needs four finite numbers"):
        GalleryItem([], 7, None, box)


def test_an_interval_has_two_ends_and_a_number() -> None:
    assert Figure(0.5, 0.4, 0.6).interval == (0.4, 0.6)
    assert Figure(0.5).interval is None
    assert Figure(0.5, math.nan, 0.6).interval is None
    assert Figure(math.nan, 0.4, 0.6).interval is None
