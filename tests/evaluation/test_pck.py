import math
from dataclasses import replace

import numpy as np
import pytest

from cpn.errors import UserError
from cpn.evaluation.pck import AREA_FRACTIONS, head_of, pck
from cpn.skeleton import COCO_17, Skeleton

TORSO = Skeleton(
    ("left_shoulder", "right_shoulder", "left_hip", "right_hip", "nose"),
    ((0, 1), (2, 3)),
    (),
    (0.1,) * 5,
)


def person(visibility: tuple[int, int, int, int, int]) -> np.ndarray:
    """Both torso diagonals are 50 (30 across, 40 down); the nose is above."""
    points = [(30.0, 0.0), (0.0, 0.0), (30.0, 40.0), (0.0, 40.0), (15.0, -20.0)]
    return np.array([[*point, v] for point, v in zip(points, visibility, strict=True)])


def test_by_hand() -> None:
    truths = person((2, 2, 2, 1, 0))[None]
    points = truths[..., :2].copy()
    points[0, 0, 0] += 9.9  # within 0.2 * 50
    points[0, 1, 1] += 10.1  # not
    points[0, 4] += 1000.0  # unlabelled: not counted
    result = pck(points, truths, skeleton=TORSO)
    assert result.value == pytest.approx(3 / 4)
    np.testing.assert_array_equal(result.per_keypoint, [1.0, 0.0, 1.0, 1.0, np.nan])
    assert (result.num_keypoints, result.num_persons, result.num_skipped) == (4, 1, 0)
    assert pck(points, truths, skeleton=TORSO, fraction=0.21).value == 1.0


def test_one_diagonal_is_enough_and_none_is_skipped() -> None:
    truths = np.stack([person((2, 0, 0, 2, 2)), person((2, 2, 0, 0, 2))])
    result = pck(truths[..., :2], truths, skeleton=TORSO)
    assert (result.value, result.num_keypoints) == (1.0, 3)
    assert (result.num_persons, result.num_skipped) == (1, 1)


def test_the_diameter_is_the_mean_of_both_diagonals() -> None:
    truths = person((2, 2, 2, 2, 2))[None]
    truths[0, 3, :2] = truths[0, 0, :2] + [0.0, 100.0]  # 100 and 50: mean 75, limit 15
    points = truths[..., :2].copy()
    points[0, 4, 0] += 14.9
    assert pck(points, truths, skeleton=TORSO).value == 1.0
    points[0, 4, 0] += 0.2
    assert pck(points, truths, skeleton=TORSO).value == pytest.approx(4 / 5)


def test_a_torso_without_length_is_skipped() -> None:
    truths = np.tile([5.0, 5.0, 2.0], (1, 5, 1))
    result = pck(truths[..., :2], truths, skeleton=TORSO)
    assert math.isnan(result.value)
    assert result.num_skipped == 1


def test_nobody_is_nan() -> None:
    result = pck(np.zeros((0, 17, 2)), np.zeros((0, 17, 3)), skeleton=COCO_17)
    assert math.isnan(result.value)
    assert result.num_persons == 0


def test_the_area_is_the_mean_over_fractions() -> None:
    truths = person((2, 2, 2, 2, 2))[None]
    points = truths[..., :2].copy()
    points[0, 0, 0] += 0.255 * 50  # correct from .26 on: 25 of the 51 fractions
    points[0, 1, 0] += 1000.0  # at none
    result = pck(points, truths, skeleton=TORSO)
    assert len(AREA_FRACTIONS) == 51
    assert result.area == pytest.approx((3 + 25 / 51) / 5)


def test_pck_of_the_head() -> None:
    mpii = Skeleton(("head_top", "upper_neck", "wrist"), (), (), (0.1,) * 3)
    truths = np.array([[[0.0, 0.0, 2], [0.0, 40.0, 2], [100.0, 100.0, 2]]])
    points = truths[..., :2].copy()
    head = head_of(mpii)
    assert head is not None
    points[0, 2, 0] += 19.9
    assert pck(points, truths, skeleton=mpii, fraction=0.5, yardstick=head).value == 1.0
    points[0, 2, 0] += 0.2
    found = pck(points, truths, skeleton=mpii, fraction=0.5, yardstick=head)
    assert found.value == pytest.approx(2 / 3)
    assert head_of(COCO_17) is None


def test_non_finite_predictions_are_refused() -> None:
    truths = person((2, 2, 2, 2, 2))[None]
    with pytest.raises(UserError, match="PCK: predicted keypoints are not finite"):
        pck(truths[..., :2] * np.nan, truths, skeleton=TORSO)


def test_a_skeleton_without_torso_is_refused() -> None:
    names = ("a", "b", "c", "right_hip", "nose")
    truths = person((2, 2, 2, 2, 2))[None]
    with pytest.raises(UserError, match=r"needs the keypoints \['left_shoulder', 'right_shoulder'"):
        pck(truths[..., :2], truths, skeleton=replace(TORSO, keypoint_names=names))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"points \(1, 5, 2\) do not fit"):
        pck(np.zeros((1, 5, 2)), np.zeros((2, 5, 3)), skeleton=TORSO)
