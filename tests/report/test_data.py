import pytest

from cpn.report.data import Curve, GalleryItem


def test_a_curve_needs_as_many_precisions_as_recalls() -> None:
    with pytest.raises(ValueError, match=r"'OKS 0\.50' needs as many precisions as recalls"):
        Curve("OKS 0.50", [0.0, 0.5], [1.0])
    with pytest.raises(ValueError, match="at least one, got 0 and 0"):
        Curve("OKS 0.50", [], [])


def test_size_is_the_root_of_the_box_s_area() -> None:
    assert GalleryItem([], 1, None, [5, 5, 40, 90]).size == pytest.approx(60)
