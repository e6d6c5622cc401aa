import numpy as np
import pytest

from cpn.data.pretended_detector import PretendedDetector
from cpn.geometry.box_nms import box_iou
from cpn.geometry.boxes import xywh_to_xyxy

KNOWN = np.array([[10.0, 20.0, 30.0, 40.0], [50.0, 5.0, 40.0, 90.0]] * 500)
SCORES = np.full(len(KNOWN), 0.8)
SIZES = np.full((len(KNOWN), 2), 100)


def test_a_perfect_detector_gives_what_is_known() -> None:
    found = PretendedDetector(0, 0, 0, 0).detect(KNOWN, SCORES, SIZES, seed=0)
    np.testing.assert_array_equal(found.sources, np.arange(len(KNOWN)))
    np.testing.assert_allclose(found.boxes_xywh, KNOWN)
    np.testing.assert_allclose(found.scores, SCORES)


def test_the_seed_decides() -> None:
    detector = PretendedDetector(0.1, 0.1, 0.5, 0.5)
    first, same, other = (detector.detect(KNOWN, SCORES, SIZES, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.boxes_xywh, same.boxes_xywh)
    assert first.boxes_xywh.shape != other.boxes_xywh.shape


def test_shares_and_means() -> None:
    found = PretendedDetector(0, 0.2, 2.0, 0.0).detect(KNOWN, SCORES, SIZES, seed=0)
    people = len(np.unique(found.sources))
    assert people == pytest.approx(800, abs=40)
    assert len(found.sources) / people == pytest.approx(3.0, abs=0.15)
    invented = PretendedDetector(0, 1.0, 0.0, 0.5).detect(KNOWN, SCORES, SIZES, seed=0)
    assert len(invented.sources) == pytest.approx(500, abs=70)
    assert invented.scores.min() >= 0.05
    assert invented.scores.max() <= 0.6


def test_boxes_move_by_the_jitter_and_are_less_sure() -> None:
    inside = KNOWN[::2]
    n = len(inside)
    found = PretendedDetector(0.05, 0, 0, 0).detect(inside, SCORES[:n], SIZES[:n], seed=0)
    shift = found.boxes_xywh[:, :2] + found.boxes_xywh[:, 2:] / 2 - (25, 40)
    np.testing.assert_allclose(shift.std(axis=0) / (30, 40), 0.05, atol=0.007)
    stretch = np.log(found.boxes_xywh[:, 2:] / (30, 40))
    np.testing.assert_allclose(stretch.std(axis=0), 0.05, atol=0.007)
    overlaps = box_iou(xywh_to_xyxy(inside[0]), xywh_to_xyxy(found.boxes_xywh))
    assert (found.scores <= 0.8 * overlaps + 1e-12).all()
    assert (found.scores >= 0.7 * 0.8 * overlaps - 1e-12).all()


def test_boxes_stay_in_the_photo() -> None:
    for detector in (PretendedDetector(0.8, 0, 1, 1), PretendedDetector(0, 1, 0, 3)):
        found = xywh_to_xyxy(detector.detect(KNOWN, SCORES, SIZES, seed=0).boxes_xywh)
        assert found.min() >= 0
        assert found.max() <= 100
        assert (found[:, 2:] - found[:, :2]).min() >= 1 - 1e-9


def test_nobody_is_known() -> None:
    nothing = PretendedDetector(0.1, 0, 1, 1).detect(KNOWN[:0], SCORES[:0], SIZES[:0], seed=0)
    assert len(nothing.sources) == 0
    assert nothing.boxes_xywh.shape == (0, 4)
