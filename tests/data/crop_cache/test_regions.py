from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpn.data.crop_cache.regions import Regions, grow_boxes, shown_regions
from cpn.data.persons import FloatArray
from cpn.geometry.crop import grow_box, invert_matrix, transform_points
from cpn.skeleton import Skeleton
from tests.data.crop_cache.cases import NUM_KEYPOINTS, persons_at, transform_of

BOX = [100, 60, 30, 80]  # grown to 75 x 100 around (115, 100)
PLAIN: dict[str, Any] = {
    "scale_range": (1.0, 1.0),
    "rotation_degrees": 0.0,
    "half_body_probability": 0.0,
}

places = st.floats(-500.0, 3000.0)
sides = st.floats(0.0, 2000.0)


@given(st.tuples(places, places, sides, st.floats(0.1, 2000.0)), st.floats(0.3, 3.0))
@settings(max_examples=100, derandomize=True)
def test_many_boxes_grow_as_one_does(box: tuple[float, ...], aspect: float) -> None:
    boxes, margins = np.array([[box], [box]]), np.array([[1.0], [1.25]])
    centers, sizes = grow_boxes(boxes, aspect=aspect, margins=margins)
    for row, margin in enumerate((1.0, 1.25)):
        center, size = grow_box(box, aspect=aspect, margin=margin)
        np.testing.assert_allclose(centers[row, 0], center, rtol=1e-12)
        np.testing.assert_allclose(sizes[row, 0], size, rtol=1e-12)


def _region(box: Sequence[float], size_wh: tuple[int, int], **changes: Any) -> list[int]:
    """x0, y0, x1, y1, halvings of one person."""
    regions = shown_regions(persons_at(box, size_wh), transform_of(**(PLAIN | changes)).crop)
    return [*regions.corners[0].tolist(), *regions.halvings.tolist()]


def test_a_region_lies_on_the_grid_around_the_grown_box() -> None:
    # (77.5, 50) to (152.5, 150), and two pixels for the interpolation.
    assert _region(BOX, (320, 240)) == [64, 48, 160, 160, 0]


def test_a_region_ends_with_its_photo() -> None:
    assert _region(BOX, (130, 141)) == [64, 48, 130, 141, 0]
    assert _region([0, 0, 30, 80], (320, 240)) == [0, 0, 64, 96, 0]


def test_a_region_holds_the_largest_scale_in_the_detail_of_the_smallest() -> None:
    # 150 x 200 around (115, 100) is halved once: four pixels for the interpolation.
    assert _region(BOX, (320, 240), scale_range=(0.5, 2.0)) == [32, 0, 208, 208, 0]


def test_a_region_holds_every_rotation() -> None:
    # The diagonal of 75 x 100 is 125.
    assert _region(BOX, (320, 240), rotation_degrees=90.0) == [48, 32, 192, 176, 0]
    still = {"rotation_degrees": 90.0, "rotation_probability": 0.0}
    assert _region(BOX, (320, 240), **still) == [64, 48, 160, 160, 0]


def test_a_large_person_is_halved() -> None:
    # 300 x 400 around (460, 400): 6.25 pixels a crop pixel, so twice, and eight for interpolation.
    assert _region([400, 240, 120, 320], (1000, 600)) == [288, 192, 624, 600, 2]


def test_halving_begins_at_two_pixels_per_crop_pixel() -> None:
    # 96 x 128 has two pixels per crop pixel: 102.4 * 1.25 = 128.
    assert _region([500, 500, 10, 102.5], (1000, 1000))[-1] == 1
    assert _region([500, 500, 10, 102.3], (1000, 1000))[-1] == 0


def test_a_region_holds_half_bodies() -> None:
    keypoints = np.zeros((1, NUM_KEYPOINTS, 3))
    keypoints[0, :5] = [[200, 50, 2], [240, 90, 2], [210, 60, 1], [220, 70, 2], [230, 80, 2]]
    persons = persons_at(BOX, (320, 240), keypoints=keypoints)

    def corners(**changes: Any) -> list[int]:
        crop = transform_of(**(PLAIN | {"half_body_probability": 0.1} | changes)).crop
        return list(shown_regions(persons, crop).corners[0].tolist())

    # 40 x 40 around (220.5, 70.5) grows to 60 x 80.
    assert corners(half_body_min_keypoints=4) == [64, 16, 256, 160]
    assert corners(half_body_min_keypoints=5) == [64, 48, 160, 160]
    assert corners(half_body_min_keypoints=4, half_body_probability=0.0) == [64, 48, 160, 160]


def test_a_skeleton_may_have_no_lower_body() -> None:
    face = Skeleton(("nose", "left_eye", "right_eye", "chin"), ((1, 2),), (), (0.1,) * 4)
    keypoints = np.array([[[200, 50, 2], [240, 90, 2], [210, 60, 2], [220, 70, 2]]], float)
    persons = persons_at(BOX, (320, 240), keypoints=keypoints)
    changes = PLAIN | {"half_body_probability": 0.3, "half_body_min_keypoints": 3}
    regions = shown_regions(persons, transform_of(face, **changes).crop)
    assert regions.corners.tolist() == [[64, 16, 256, 160]]


@pytest.mark.parametrize("x", [-900, 1900])
def test_of_a_person_beside_the_photo_something_is_left(x: int) -> None:
    x0, y0, x1, y1, _ = _region([x, 0, 300, 400], (1025, 100))
    assert 0 <= x0 < x1 <= 1025
    assert (y0, y1) == (0, 100)


@st.composite
def people(draw: st.DrawFn) -> tuple[list[float], FloatArray, tuple[int, int]]:
    """Box, (K, 3) keypoints and the photo's width and height."""
    size_wh = draw(st.integers(40, 1500)), draw(st.integers(40, 1500))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    corner = rng.uniform(-0.1, 0.9, 2) * size_wh
    extent = rng.uniform(0.05, 0.9, 2) * size_wh
    keypoints = np.column_stack(
        [corner + rng.uniform(-0.2, 1.2, (NUM_KEYPOINTS, 2)) * extent, np.full(NUM_KEYPOINTS, 2)]
    )
    keypoints[rng.random(NUM_KEYPOINTS) < 0.2] = 0
    return [*corner.tolist(), *extent.tolist()], keypoints, size_wh


def _halvings_of(matrix: FloatArray) -> int:
    """As `warp_crop` counts them."""
    zoom, count = abs(np.linalg.det(matrix[:, :2])), 0
    while zoom <= 0.25:
        zoom, count = zoom * 4, count + 1
    return count


def _read_edges(
    matrix: FloatArray, input_hw: tuple[int, int], halvings: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Edges of the photo's pixels that a warp takes something from, before they are clipped."""
    height, width = input_hw
    corners = [(x, y) for x in (0, width - 1) for y in (0, height - 1)]
    points = transform_points(invert_matrix(matrix), corners)
    side = 2**halvings
    first = np.floor((points + 0.5) / side - 0.5)  # bilinear: this pixel and the next
    return side * first.min(axis=0), side * (first.max(axis=0) + 2)


@given(
    people(),
    st.sampled_from([(64, 48), (64, 64), (32, 96)]),
    # One scale and no rotation: every draw is an extreme one.
    st.sampled_from([(1.0, 1.0), (2.5, 2.5), (0.7, 1.35), (0.4, 2.5)]),
    st.sampled_from([0.0, 30.0, 90.0, 180.0]),
    st.sampled_from([0.0, 0.7]),
)
@settings(max_examples=100, derandomize=True, deadline=None)
def test_no_draw_shows_more_than_the_region(
    person: tuple[list[float], FloatArray, tuple[int, int]],
    input_hw: tuple[int, int],
    scale_range: tuple[float, float],
    rotation_degrees: float,
    half_body_probability: float,
) -> None:
    box, keypoints, size_wh = person
    persons = persons_at(box, size_wh, keypoints=keypoints[None])
    transform = transform_of(
        input_hw=input_hw,
        scale_range=scale_range,
        rotation_degrees=rotation_degrees,
        half_body_probability=half_body_probability,
    )
    regions = shown_regions(persons, transform.crop)
    region, nothing = regions.corners[0], np.zeros((1, 1, 3), np.uint8)
    for draw in range(15):
        matrix = transform(nothing, persons[0], np.random.default_rng(draw)).matrix
        halvings = _halvings_of(matrix)
        assert regions.halvings[0] <= halvings
        low, high = _read_edges(matrix, input_hw, halvings)
        low, high = (np.clip(edges, 0, size_wh) for edges in (low, high))
        if (low < high).all():  # otherwise the crop shows nothing of the photo
            assert (low >= region[:2]).all()
            assert (high <= region[2:]).all()


def test_regions_are_missing_what_others_have() -> None:
    stored = np.tile([16, 16, 48, 64], (8, 1))
    corners = np.array(
        [
            [16, 16, 48, 64],
            [32, 32, 40, 48],
            [0, 16, 48, 64],
            [16, 0, 48, 64],
            [16, 16, 49, 64],
            [16, 16, 48, 65],
            [16, 16, 48, 64],
            [32, 32, 40, 48],
        ]
    )
    steps = np.array([16, 16, 16, 16, 16, 16, 16, 32])  # the last halves from multiples of 32 on
    needed = Regions(corners, np.array([1, 2, 1, 1, 1, 1, 0, 1]), steps)
    missing = needed.missing_in(stored, np.full(8, 1))
    assert missing.tolist() == [False, False, True, True, True, True, True, True]
