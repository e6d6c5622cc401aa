import numpy as np
import pytest

from cpn.prediction.visualization import (
    LEFT,
    MIDDLE,
    PAPER,
    RIGHT,
    contact_sheet,
    draw_skeletons,
    draw_tracks,
    heatmap_grid,
    track_color,
)
from cpn.skeleton import COCO_17, Skeleton

THREE = Skeleton(
    keypoint_names=("left_hand", "right_hand", "nose"),
    flip_pairs=((0, 1),),
    limbs=((0, 1), (0, 2), (1, 2)),
    sigmas=(0.1, 0.1, 0.1),
)
POINTS = np.array([[[20.0, 10.0], [60.0, 10.0], [40.0, 50.0]]])


def _blank(height: int = 64, width: int = 80) -> np.ndarray:
    return np.full((height, width, 3), 200, dtype=np.uint8)


def _is_near(pixel: np.ndarray, color: tuple[int, int, int]) -> bool:
    """Thin lines are smoothed: their colour is mixed with what is beside them."""
    return bool(np.abs(pixel.astype(int) - color).max() <= 60)


def _has(image: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool((image == color).all(axis=-1).any())


def test_sides_have_their_colours_at_their_places() -> None:
    drawn = draw_skeletons(_blank(), POINTS, np.ones((1, 3)), THREE)
    assert tuple(drawn[10, 20]) == LEFT
    assert tuple(drawn[10, 60]) == RIGHT
    assert tuple(drawn[50, 40]) == MIDDLE
    assert _is_near(drawn[10, 40], MIDDLE)  # left to right: no side
    assert _is_near(drawn[30, 30], LEFT)  # left hand to nose
    assert _is_near(drawn[30, 50], RIGHT)


def test_the_input_is_left_alone() -> None:
    image = _blank()
    draw_skeletons(image, POINTS, np.ones((1, 3)), THREE)
    assert (image == 200).all()


def test_what_is_not_shown_or_not_finite_is_not_drawn() -> None:
    shown = draw_skeletons(_blank(), POINTS, [[1, 0, 0]], THREE)
    assert _has(shown, LEFT)
    assert not _has(shown, RIGHT)
    assert not _has(shown, MIDDLE)
    wild = POINTS.copy()
    wild[0, 1] = np.nan
    wild[0, 2] = np.inf
    assert not _has(draw_skeletons(_blank(), wild, np.ones((1, 3)), THREE), RIGHT)


def test_points_far_outside_do_no_harm() -> None:
    far = POINTS.copy()
    far[0, 0] = (-1e30, 1e30)
    drawn = draw_skeletons(_blank(), far, np.ones((1, 3)), THREE)
    assert tuple(drawn[50, 40]) == MIDDLE


def test_nobody_is_the_same_picture() -> None:
    image = _blank()
    drawn = draw_skeletons(image, np.zeros((0, 3, 2)), np.zeros((0, 3)), THREE)
    assert (drawn == image).all()
    hidden = draw_skeletons(image, POINTS, np.zeros((1, 3)), THREE)
    assert (hidden == image).all()


def test_large_people_get_thicker_lines() -> None:
    image = np.full((900, 900, 3), 255, dtype=np.uint8)
    small = draw_skeletons(image, POINTS, np.ones((1, 3)), THREE)
    large = draw_skeletons(image, POINTS * 12, np.ones((1, 3)), THREE)
    small_row, large_row = small[30], large[360]
    assert (large_row != 255).any(-1).sum() > 2 * (small_row != 255).any(-1).sum()


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_small_people_are_drawn_over_large_ones(order: list[int]) -> None:
    large = POINTS[0] * 10
    small = POINTS[0] + large[2] - POINTS[0, 0]  # its left hand on the large one's nose
    image = np.zeros((700, 700, 3), dtype=np.uint8)
    drawn = draw_skeletons(image, np.stack([large, small])[order], np.ones((2, 3)), THREE)
    assert tuple(drawn[500, 400]) == LEFT


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shown must be \(1, 3\)"):
        draw_skeletons(_blank(), POINTS, np.ones((2, 3)), THREE)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_only_rgb_bytes_are_images(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="an image is"):
        draw_skeletons(image, POINTS, np.ones((1, 3)), THREE)
    with pytest.raises(ValueError, match="an image is"):
        heatmap_grid(np.zeros((1, 2, 2)), image)


def test_views_in_other_memory_orders_are_drawn_on() -> None:
    turned = _blank()[..., ::-1].transpose(1, 0, 2)
    assert _has(draw_skeletons(turned, POINTS, np.ones((1, 3)), THREE), LEFT)


def test_a_heatmap_glows_where_its_peak_is() -> None:
    maps = np.zeros((2, 16, 20))
    maps[0, 4, 5] = 255.0
    maps[1, 12, 15] = 1e-3
    grid = heatmap_grid(maps, _blank(), columns=2)
    assert grid.shape == (64 + 8, 2 * 80 + 12, 3)
    first, second = grid[4:68, 4:84], grid[4:68, 88:168]
    brightness = first.max(-1).astype(int)
    peak = np.unravel_index(brightness.argmax(), brightness.shape)
    # Cell (4, 5) of stride 4 covers pixels 16..19 and 20..23.
    assert 14 <= peak[0] <= 21
    assert 18 <= peak[1] <= 25
    assert second[49:51, 61:63].max() > 200  # each map from its own peak


@pytest.mark.parametrize("value", [0.0, -5.0, np.nan])
def test_a_map_without_a_peak_shows_the_dark_crop(value: float) -> None:
    grid = heatmap_grid(np.full((1, 4, 4), value), _blank(), columns=1)
    assert (np.abs(grid[4:-4, 4:-4].astype(int) - 110) <= 1).all()


@pytest.mark.parametrize("shape", [(4, 4), (0, 4, 4), (1, 0, 4)])
def test_maps_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"heatmaps must be \(K, h, w\)"):
        heatmap_grid(np.zeros(shape), _blank())


def test_a_contact_sheet_centres_images_in_rows() -> None:
    red = np.full((10, 20, 3), (255, 0, 0), np.uint8)
    small = np.full((4, 6, 3), (0, 255, 0), np.uint8)
    sheet = contact_sheet([red, small, red], columns=2, gap=2)
    assert sheet.shape == (2 * 12 + 2, 2 * 22 + 2, 3)
    assert (sheet[2:12, 2:22] == (255, 0, 0)).all()
    assert (sheet[5:9, 31:37] == (0, 255, 0)).all()
    assert (sheet == (0, 255, 0)).all(-1).sum() == 24
    assert (sheet[14:24, 2:22] == (255, 0, 0)).all()
    assert (sheet[14:, 24:] == PAPER).all()
    assert contact_sheet([red], columns=8, gap=0).shape == red.shape


@pytest.mark.parametrize(("count", "columns"), [(0, 2), (1, 0)])
def test_an_empty_sheet_is_refused(count: int, columns: int) -> None:
    with pytest.raises(ValueError, match="need images and columns >= 1"):
        contact_sheet([_blank()] * count, columns=columns)


def test_coco_limbs_of_both_sides_are_drawn() -> None:
    points = np.random.default_rng(0).uniform(10, 190, (3, 17, 2))
    drawn = draw_skeletons(np.zeros((200, 200, 3), np.uint8), points, np.full((3, 17), 2), COCO_17)
    assert all(_has(drawn, color) for color in (LEFT, RIGHT, MIDDLE))


def test_tracks_are_boxes_in_colours_of_their_own_with_numbers() -> None:
    boxes = [[10, 30, 30, 60], [40, 30, 60, 60], [65, 30, 75, 60]]
    image = _blank()
    drawn = draw_tracks(image, boxes, [1, 2, 0])
    assert (image == 200).all()
    assert _is_near(drawn[45, 10], track_color(1))
    assert _is_near(drawn[45, 40], track_color(2))
    assert not _is_near(drawn[45, 40], track_color(1))
    assert (drawn[45, 15:25] == 200).all()  # the box is no more than an outline
    assert (drawn[:, 64:] == 200).all()  # who has no number has no box
    assert (drawn[:29, 10:30] != 200).any()  # the number above
    assert len({track_color(track) for track in range(1, 50)}) == 49
    np.testing.assert_array_equal(draw_tracks(image, np.zeros((0, 4)), []), image)
