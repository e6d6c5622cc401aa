"""Windows worked out by hand: photos are 40 wide and 20 high unless said otherwise."""

from pathlib import Path

import numpy as np
import pytest

from cpn.data.annotated_photos import AnnotatedPhoto
from cpn.data.photo_transform import (
    PhotoAugmentation,
    PhotoTransform,
    TransformedPhoto,
    draw_window,
    filled_outline,
    shown_boxes,
)

STILL = PhotoAugmentation((1.0, 1.0), 0.0, 0.25, 0.0, 0.0, 0.0)
MIRRORED = PhotoAugmentation((1.0, 1.0), 1.0, 0.25, 0.0, 0.0, 0.0)
BOX = [10.0, 4.0, 20.0, 14.0]


def _photo(
    boxes: list[list[float]], keypoints: list[list[list[float]]] | None = None
) -> AnnotatedPhoto:
    points = np.array(keypoints or np.zeros((len(boxes), 0, 3)))
    x0, y0, x1, y1 = BOX
    square = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float32)
    return AnnotatedPhoto(
        1, Path("a.png"), (20, 40), np.array(boxes).reshape(-1, 4), points, [[square]] * len(boxes)
    )


def _transformed(
    augmentation: PhotoAugmentation, photo: AnnotatedPhoto, *, masks: bool = False, seed: int = 0
) -> TransformedPhoto:
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[4:14, 10:20] = 200
    transform = PhotoTransform((40, 80), augmentation, flip_permutation=(1, 0), masks=masks)
    return transform(pixels, photo, np.random.default_rng(seed))


def test_a_photo_fills_the_canvas() -> None:
    found = _transformed(STILL, _photo([BOX]), masks=True)
    assert found.pixels.shape == (40, 80, 3)
    np.testing.assert_allclose(found.boxes_xyxy, [[20, 8, 40, 28]])
    assert found.masks is not None
    # the bright square and its mask are where the box is
    assert found.pixels[9:27, 21:39].min() == 200
    assert found.masks[0, 8:28, 20:40].all()
    assert found.masks[0].sum() == 20 * 20
    outside = np.ones((40, 80), bool)
    outside[7:29, 19:41] = False
    assert not found.pixels[outside].any()


def test_a_mirror_exchanges_left_and_right() -> None:
    keypoints = [[[10.0, 4.0, 2.0], [19.0, 13.0, 1.0]]]
    found = _transformed(MIRRORED, _photo([BOX], keypoints), masks=True)
    np.testing.assert_allclose(found.boxes_xyxy, [[40, 8, 60, 28]])
    # index u of the photo is (u + 0.5) * 2 - 0.5 = 20.5, and mirrored 79 - 20.5
    np.testing.assert_allclose(found.keypoints, [[[40.5, 26.5, 1], [58.5, 8.5, 2]]])
    assert found.masks is not None
    assert found.masks[0, 8:28, 40:60].all()
    assert found.masks[0].sum() == 20 * 20
    assert found.pixels[9:27, 41:59].min() == 200


def test_an_outline_may_overlap_itself_and_leave_the_picture() -> None:
    left = np.array([[-3.0, 1.0], [4.0, 1.0], [4.0, 3.0], [-3.0, 3.0]])
    right = np.array([[2.0, 0.0], [9.0, 0.0], [9.0, 2.0], [2.0, 2.0]])
    expected = [[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [0] * 6]
    assert filled_outline([left, right], (4, 6)).tolist() == expected


def test_a_window_is_where_it_is_drawn() -> None:
    # twice as large as fits: half of the photo's width and height is shown
    window = draw_window((20, 40), (20, 40), 2.0, (0.5, 1.0), flip=False)
    assert window.size_hw == (20, 40)
    boxes, shares = shown_boxes(np.array([BOX, [0, 0, 20, 20]]), window.matrix, window.size_hw)
    # columns 10..30 and rows 10..20 of the photo
    np.testing.assert_allclose(boxes, [[0, 0, 20, 8], [0, 0, 20, 20]])
    np.testing.assert_allclose(shares, [0.4, 0.25])


def test_a_small_photo_keeps_its_shape() -> None:
    window = draw_window((20, 40), (40, 40), 0.5, (0.3, 0.3), flip=False)
    assert window.size_hw == (10, 20)


def test_who_is_hardly_seen_is_not_labelled() -> None:
    half = PhotoAugmentation((2.0, 2.0), 0.0, 0.5, 0.0, 0.0, 0.0)
    photo = _photo([BOX, [0.0, 0.0, 40.0, 20.0]])
    found = [_transformed(half, photo, seed=seed).boxes_xyxy for seed in range(20)]
    # The second one is a quarter seen in every window, whole in the whole photo.
    windows = [boxes for boxes in found if len(boxes) == 1]
    assert len(windows) >= 10
    assert all((boxes[:, 2:] - boxes[:, :2] <= 40).all() for boxes in windows)


def test_a_photo_with_people_shows_somebody() -> None:
    wide = PhotoAugmentation((6.0, 6.0), 0.0, 0.9, 0.0, 0.0, 0.0)
    found = [_transformed(wide, _photo([BOX]), seed=seed) for seed in range(10)]
    assert all(len(each.boxes_xyxy) == 1 for each in found)


def test_a_photo_without_people_is_shown_too() -> None:
    found = _transformed(MIRRORED, _photo([]), masks=True)
    assert found.boxes_xyxy.shape == (0, 4)
    assert found.masks is not None
    assert found.masks.shape == (0, 40, 80)


def test_keypoints_outside_are_not_labelled() -> None:
    keypoints = [[[-3.0, 4.0, 2.0], [39.4, 13.0, 1.0]]]
    found = _transformed(STILL, _photo([BOX], keypoints))
    assert found.keypoints[0, :, 2].tolist() == [0, 1]


@pytest.mark.parametrize("strength", ["brightness", "contrast", "saturation"])
def test_colours_vary(strength: str) -> None:
    varied = PhotoAugmentation(
        (1.0, 1.0),
        0.0,
        0.25,
        **dict.fromkeys(("brightness", "contrast", "saturation"), 0.0) | {strength: 0.5},
    )
    pixels = np.full((20, 40, 3), (200, 100, 40), np.uint8)
    transform = PhotoTransform((20, 40), varied)
    found = [
        transform(pixels, _photo([BOX]), np.random.default_rng(seed)).pixels[0, 0]
        for seed in range(5)
    ]
    assert len({tuple(each.tolist()) for each in found}) == 5
