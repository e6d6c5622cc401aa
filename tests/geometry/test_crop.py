import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from cpn.geometry.crop import (
    Placement,
    crop_matrix,
    crop_to_heatmap,
    grow_box,
    halve_image,
    heatmap_to_crop,
    invert_matrix,
    transform_points,
    warp_crop,
)

INPUT_HW = (64, 48)

sizes = st.floats(1.0, 2000.0)
places = st.floats(-500.0, 3000.0)
angles = st.floats(-180.0, 180.0)
scales = st.floats(0.5, 2.0)


def test_grow_box_widens_to_the_aspect() -> None:
    center, size = grow_box([10, 20, 30, 80], aspect=0.75, margin=1.25)
    np.testing.assert_allclose(center, [25, 60])
    np.testing.assert_allclose(size, [75, 100])


def test_grow_box_heightens_to_the_aspect() -> None:
    center, size = grow_box([10, 20, 30, 10], aspect=0.75, margin=1.0)
    np.testing.assert_allclose(center, [25, 25])
    np.testing.assert_allclose(size, [30, 40])


def test_grow_box_of_a_line_uses_its_length() -> None:
    _, size = grow_box([0, 0, 0, 40], aspect=0.5, margin=1.0)
    np.testing.assert_allclose(size, [20, 40])


@pytest.mark.parametrize(
    "box", [[0, 0, 0, 0], [0, 0, -1, -1], [np.nan, 0, 1, 1], [0, 0, np.inf, 1]]
)
def test_grow_box_refuses_nothing_and_non_finite(box: list[float]) -> None:
    with pytest.raises(ValueError, match="must be finite with a size"):
        grow_box(box, aspect=0.75, margin=1.0)


def test_matrix_of_the_whole_image_is_the_identity() -> None:
    matrix = crop_matrix([24, 32], [48, 64], INPUT_HW)
    np.testing.assert_allclose(matrix, [[1, 0, 0], [0, 1, 0]], atol=1e-12)


def test_flip_follows_the_pixel_rule() -> None:
    matrix = crop_matrix([24, 32], [48, 64], INPUT_HW, flip=True)
    np.testing.assert_allclose(transform_points(matrix, [[0, 0], [47, 5]]), [[47, 0], [0, 5]])


def test_scale_enlarges_the_box() -> None:
    matrix = crop_matrix([24, 32], [48, 64], INPUT_HW, scale=2.0)
    np.testing.assert_allclose(transform_points(matrix, [47.5, 63.5]), [35.5, 47.5])


def test_rotation_is_clockwise_on_the_screen() -> None:
    matrix = crop_matrix([10.5, 10.5], [20, 20], (20, 20), rotation_degrees=90)
    # Centre index 10 -> 9.5; what was right of it is below it.
    np.testing.assert_allclose(transform_points(matrix, [13.0, 10.0]), [9.5, 12.5])


def test_batches_of_points_take_one_matrix_each() -> None:
    matrices = np.stack([crop_matrix([5, 5], [side, side], (10, 10)) for side in (10, 5)])
    points = np.array([[[1.0, 2.0], [3.0, 4.0]]] * 2)
    expected = [transform_points(matrix, row) for matrix, row in zip(matrices, points, strict=True)]
    np.testing.assert_allclose(transform_points(matrices, points), expected)
    back = transform_points(invert_matrix(matrices), transform_points(matrices, points))
    np.testing.assert_allclose(back, points)


@given(places, places, sizes, scales, angles, st.booleans(), st.tuples(places, places))
@settings(max_examples=100, derandomize=True)
def test_there_and_back_within_a_thousandth_of_a_pixel(
    x: float,
    y: float,
    size: float,
    scale: float,
    angle: float,
    flip: bool,
    point: tuple[float, float],
) -> None:
    matrix = crop_matrix(
        [x, y], [size * 0.75, size], (256, 192), scale=scale, rotation_degrees=angle, flip=flip
    )
    there = transform_points(matrix, point)
    assert np.isfinite(there).all()
    np.testing.assert_allclose(transform_points(invert_matrix(matrix), there), point, atol=1e-3)


# What `cpn.coco` lets in: a place up to ten million pixels away, an extent above nothing.
far = st.floats(-1e7, 1e7)
extents = st.floats(0, 1e7)


@given(far, far, extents, extents, scales, angles, st.booleans())
@example(1.0, 1.0, 5e-324, 5e-324, 1.0, 0.0, False)
@example(1e7, -1e7, 1e-310, 0.0, 0.3, 45.0, True)
@example(0.0, 0.0, 1e7, 1e7, 3.0, 180.0, False)
def test_the_crop_of_any_box_is_finite(
    x: float, y: float, width: float, height: float, scale: float, angle: float, flip: bool
) -> None:
    assume(max(width, height) > 0)
    center, size = grow_box([x, y, width, height], aspect=0.75, margin=1.25)
    matrix = crop_matrix(center, size, INPUT_HW, scale=scale, rotation_degrees=angle, flip=flip)
    assert np.isfinite(matrix).all()
    assert np.isfinite(invert_matrix(matrix)).all()
    photo = np.full((40, 60, 3), 200, np.uint8)
    assert warp_crop(photo, matrix, INPUT_HW).shape == (*INPUT_HW, 3)


def _dot(center: npt.NDArray[np.float64], radius: float) -> npt.NDArray[np.uint8]:
    """(240, 320, 3) black with a soft white dot at a sub-pixel place."""
    y, x = np.mgrid[:240, :320]
    distance = np.hypot(x - center[0], y - center[1])
    grey = (255 * np.clip(radius + 0.5 - distance, 0, 1)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


offsets = st.floats(-0.3, 0.3)


@given(st.floats(40, 200), scales, angles, st.booleans(), st.tuples(offsets, offsets))
@settings(max_examples=60, derandomize=True)
def test_a_dot_lands_where_its_point_says(
    size: float, scale: float, angle: float, flip: bool, place: tuple[float, float]
) -> None:
    center, size_wh = np.array([160.0, 120.0]), np.array([size * 0.75, size])
    dot = center + np.array(place) * size_wh
    matrix = crop_matrix(center, size_wh, INPUT_HW, scale=scale, rotation_degrees=angle, flip=flip)
    shrink = size * scale / INPUT_HW[0]
    crop = warp_crop(_dot(dot, max(2.0 * shrink, 2.0)), matrix, INPUT_HW)[..., 0].astype(float)
    expected = transform_points(matrix, dot)
    margin = 4 * max(1.0, 1 / shrink)
    assume(((expected > margin) & (expected < np.array(INPUT_HW[::-1]) - 1 - margin)).all())
    y, x = np.mgrid[: INPUT_HW[0], : INPUT_HW[1]]
    centroid = [(crop * x).sum() / crop.sum(), (crop * y).sum() / crop.sum()]
    np.testing.assert_allclose(centroid, expected, atol=0.2)


def test_strong_shrinking_averages_instead_of_skipping() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::4] = 200
    crop = warp_crop(stripes, crop_matrix([128, 128], [256, 256], (64, 64)), (64, 64))
    assert crop.shape == (64, 64, 3)
    np.testing.assert_allclose(crop, 50, atol=2)


def test_warp_of_odd_and_tiny_images() -> None:
    for height, width in ((1, 1), (1, 7), (3, 2), (5, 5)):
        image = np.full((height, width, 3), 7, np.uint8)
        matrix = crop_matrix([width / 2, height / 2], [64, 64], (8, 8))
        assert warp_crop(image, matrix, (8, 8)).shape == (8, 8, 3)


def test_outside_the_image_is_black() -> None:
    image = np.full((20, 20, 3), 255, np.uint8)
    crop = warp_crop(image, crop_matrix([100, 100], [20, 20], (16, 16)), (16, 16))
    assert not crop.any()


@pytest.mark.parametrize("stride", [4, 8, 2.5])
def test_crop_and_heatmap_frames_are_inverse(stride: float) -> None:
    points = np.array([[0.0, 0.0], [10.0, 3.5]])
    np.testing.assert_allclose(heatmap_to_crop(crop_to_heatmap(points, stride), stride), points)


def test_heatmap_frame_by_hand() -> None:
    assert crop_to_heatmap(1.5, 4) == 0.0  # the centre of the first four pixels
    assert heatmap_to_crop(47.0, 4) == 189.5
    torch.testing.assert_close(crop_to_heatmap(torch.tensor([1.5]), 4), torch.tensor([0.0]))


def test_mirrors_of_crop_and_heatmap_agree() -> None:
    u = np.linspace(-3, 200, 7)
    np.testing.assert_allclose(crop_to_heatmap(191 - u, 4), 47 - crop_to_heatmap(u, 4))


def test_warp_agrees_with_opencv_when_not_shrinking() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    matrix = crop_matrix([30, 30], [48, 64], INPUT_HW, rotation_degrees=20)
    np.testing.assert_array_equal(
        warp_crop(image, matrix, INPUT_HW), cv2.warpAffine(image, matrix, INPUT_HW[::-1])
    )


@pytest.mark.parametrize(
    ("placement", "expected"),
    [
        (Placement(), [[1, 0, 0], [0, 1, 0]]),
        (Placement(10, 20), [[1, 0, 10], [0, 1, 20]]),
        (Placement(halvings=1), [[2, 0, 0.5], [0, 2, 0.5]]),
        # Index 0 is the centre of columns 8 to 11, of rows 4 to 7.
        (Placement(8, 4, halvings=2), [[4, 0, 9.5], [0, 4, 5.5]]),
    ],
)
def test_a_placement_says_where_pixels_are(
    placement: Placement, expected: list[list[float]]
) -> None:
    np.testing.assert_array_equal(placement.matrix(np.eye(2, 3)), expected)


def test_a_placement_comes_before_the_crop() -> None:
    matrix = np.array([[2, 1, 3], [-1, 0.5, 4]])
    # 3 + 2 * 10.5 + 1 * 20.5 and 4 - 1 * 10.5 + 0.5 * 20.5.
    np.testing.assert_array_equal(
        Placement(10, 20, halvings=1).matrix(matrix), [[4, 2, 44.5], [-2, 1, 3.75]]
    )


def test_halving_takes_means_and_leaves_out_what_is_odd() -> None:
    grey = np.array([[0, 4, 8, 8, 99], [8, 4, 0, 16, 99], [99] * 5], np.uint8)
    image = np.repeat(grey[..., None], 3, axis=2)
    assert halve_image(image, 1)[..., 0].tolist() == [[4, 8]]
    np.testing.assert_array_equal(halve_image(image, 0), image)
    many = np.arange(16, dtype=np.uint8).reshape(4, 4, 1).repeat(4, axis=2)
    assert halve_image(many, 2).tolist() == [[[8] * 4]]  # 2.5, 4.5, 10.5, 12.5 are rounded up


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("halvings", [0, 1, 2])
@pytest.mark.parametrize("flip", [True, False])
def test_a_cut_out_gives_the_photos_crop(halvings: int, channels: int, flip: bool) -> None:
    y, x = np.mgrid[:301, :403]
    side = 2**halvings
    angles = np.stack([x / 30, y / 25, (x + y) / 40, x / 40][:channels], axis=-1) / side
    photo = (127.5 + 120 * np.sin(angles)).astype(np.uint8)
    size = np.array([36.0, 48.0]) * side  # 0.75 * side pixels a crop pixel
    matrix = crop_matrix([210.3, 141.8], size, INPUT_HW, rotation_degrees=25, flip=flip)
    expected = warp_crop(photo, matrix, INPUT_HW)
    cut_out = halve_image(np.ascontiguousarray(photo[12:272, 76:344]), halvings)
    found = warp_crop(cut_out, Placement(76, 12, halvings).matrix(matrix), INPUT_HW)
    np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=1)
    assert expected.all()  # none of it is from outside the photo
