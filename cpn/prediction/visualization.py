"""Pictures for people: skeletons on photos, heatmaps on crops, contact sheets.

Images are (H, W, 3) uint8 RGB. Points are in the frame of the image that they are drawn on, pixel
index coordinates (see `cpn.geometry.crop`). Inputs are never written to.
"""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from cpn.skeleton import Skeleton

Image = NDArray[np.uint8]
Color = tuple[int, int, int]

LEFT: Color = (255, 140, 40)
RIGHT: Color = (40, 170, 255)
MIDDLE: Color = (120, 235, 110)
OUTLINE: Color = (15, 15, 15)
PAPER: Color = (24, 24, 24)

# cv2 draws at fractions of a pixel: coordinates are given in 1/16.
_SHIFT = 4
_FAR = 2.0**20


def draw_skeletons(
    image_rgb: Image,
    keypoints: ArrayLike,
    shown: ArrayLike,
    skeleton: Skeleton,
) -> Image:
    """Draw people: left limbs orange, right limbs blue, the middle green, thicker on large people.

    Args:
        image_rgb: (H, W, 3).
        keypoints: (N, K, 2), image frame.
        shown: (N, K) bool or a number per keypoint; drawn where it is above 0, and only if finite.
        skeleton: Gives the limbs and the sides.

    Returns:
        A new image of the same size.

    Raises:
        ValueError: If the shapes do not fit each other or the skeleton.
    """
    canvas = _checked_image(image_rgb).copy()
    points = np.asarray(keypoints, dtype=np.float64).reshape(-1, skeleton.num_keypoints, 2)
    visible = np.asarray(shown, dtype=np.float64)
    if visible.shape != points.shape[:2]:
        raise ValueError(f"shown must be {points.shape[:2]} as keypoints, got {visible.shape}")
    drawn = (visible > 0) & np.isfinite(points).all(axis=-1)
    diagonals = _diagonals(points, drawn)
    # Small people last: they are the ones that would be covered.
    for person in np.argsort(-diagonals, kind="stable"):
        width = float(np.clip(diagonals[person] / 110, 1.0, 8.0))
        _draw_person(canvas, points[person], drawn[person], skeleton, width)
    return canvas


def draw_tracks(
    image_rgb: Image, boxes_xyxy: ArrayLike, tracks: Sequence[int] | NDArray[np.int64]
) -> Image:
    """Draw the boxes of tracked people with their numbers, every number in a colour of its own.

    Args:
        image_rgb: (H, W, 3).
        boxes_xyxy: (N, 4) edge coordinates.
        tracks: (N,) numbers; people with 0 have none and are left out.

    Returns:
        A new image of the same size.
    """
    canvas = _checked_image(image_rgb).copy()
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    for box, track in zip(boxes, np.asarray(tracks).tolist(), strict=True):
        if track:
            _draw_track(canvas, box - 0.5, track)
    return canvas


def track_color(track: int) -> Color:
    """The colour of a track: hues that are far apart for numbers that are close (golden angle)."""
    red, green, blue = colorsys.hsv_to_rgb(track * 0.618034 % 1, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def heatmap_grid(heatmaps: ArrayLike, crop_rgb: Image, *, columns: int = 6) -> Image:
    """Show each keypoint's heatmap over the darkened crop, every map from its own 0 to its peak.

    Args:
        heatmaps: (K, h, w), any positive scale; negative values count as 0.
        crop_rgb: (H, W, 3), what the maps belong to.
        columns: Tiles per row.

    Returns:
        The tiles as one image.

    Raises:
        ValueError: If the maps are not (K, h, w) with K > 0.
    """
    maps = np.asarray(heatmaps, dtype=np.float32)
    if maps.ndim != 3 or maps.size == 0:
        raise ValueError(f"heatmaps must be (K, h, w) and not empty, got {maps.shape}")
    crop = _checked_image(crop_rgb)
    return contact_sheet([_overlay(each, crop) for each in maps], columns=columns)


def contact_sheet(images: Sequence[Image], *, columns: int, gap: int = 4) -> Image:
    """Lay images out in rows, each in the middle of a cell as large as the largest image.

    Raises:
        ValueError: If there is no image, or `columns` is below 1.
    """
    if not images or columns < 1:
        raise ValueError(f"need images and columns >= 1, got {len(images)} and {columns}")
    tiles = [_checked_image(image) for image in images]
    height, width = (max(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    size = (rows * (height + gap) + gap, columns * (width + gap) + gap, 3)
    sheet = np.full(size, PAPER, dtype=np.uint8)
    for index, tile in enumerate(tiles):
        top = gap + index // columns * (height + gap) + (height - tile.shape[0]) // 2
        left = gap + index % columns * (width + gap) + (width - tile.shape[1]) // 2
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet


def keypoint_colors(skeleton: Skeleton) -> list[Color]:
    """K colours, as `draw_skeletons` uses them."""
    return [_side(name) for name in skeleton.keypoint_names]


def limb_colors(skeleton: Skeleton) -> list[Color]:
    """One per limb, as `draw_skeletons` uses them."""
    names = skeleton.keypoint_names
    return [_limb_color(names[a], names[b]) for a, b in skeleton.limbs]


def _checked_image(image: Image) -> Image:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"an image is (H, W, 3) uint8, got {image.shape} {image.dtype}")
    return np.ascontiguousarray(image)


def _diagonals(points: NDArray[np.float64], drawn: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N,) of the boxes around each person's drawn points; 0 where there are none."""
    extents = np.zeros((len(points), 2))
    for extent, here, which in zip(extents, points, drawn, strict=True):
        if which.any():
            extent[:] = np.ptp(here[which], axis=0)
    return np.hypot(extents[:, 0], extents[:, 1])


def _side(name: str) -> Color:
    return LEFT if name.startswith("left") else RIGHT if name.startswith("right") else MIDDLE


def _limb_color(first: str, second: str) -> Color:
    """A limb has a side when both ends do not disagree: left hip to left knee, nose to left eye."""
    sides = {_side(first), _side(second)} - {MIDDLE}
    return sides.pop() if len(sides) == 1 else MIDDLE


def _draw_person(
    canvas: Image,
    points: NDArray[np.float64],
    drawn: NDArray[np.bool_],
    skeleton: Skeleton,
    width: float,
) -> None:
    names = skeleton.keypoint_names
    limbs = [(a, b) for a, b in skeleton.limbs if drawn[a] and drawn[b]]
    for extra, outline in ((1.5, True), (0.0, False)):
        for a, b in limbs:
            color = OUTLINE if outline else _limb_color(names[a], names[b])
            _line(canvas, points[a], points[b], color, width + extra)
        for index in np.flatnonzero(drawn):
            color = OUTLINE if outline else _side(names[index])
            _disc(canvas, points[index], color, 0.9 * width + 0.5 + extra / 2)


def _draw_track(canvas: Image, box_xyxy: NDArray[np.float64], track: int) -> None:
    """One box, in pixel-index coordinates, with its number above its top left corner."""
    color = track_color(track)
    height = float(box_xyxy[3] - box_xyxy[1])
    thickness = max(1, round(np.clip(height / 150, 1, 4)))
    corners = _fixed_point(box_xyxy[:2]), _fixed_point(box_xyxy[2:])
    cv2.rectangle(canvas, *corners, color, thickness, cv2.LINE_AA, _SHIFT)
    scale = float(np.clip(height / 300, 0.4, 1.5))
    x, y = np.clip(box_xyxy[:2], 0, canvas.shape[1::-1]).astype(int).tolist()
    place = (x + thickness, max(y - 2 * thickness, round(24 * scale)))
    for outline, ink in ((2, OUTLINE), (0, color)):
        width = thickness + outline
        cv2.putText(
            canvas, str(track), place, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, width, cv2.LINE_AA
        )


def _fixed_point(point: NDArray[np.float64]) -> tuple[int, int]:
    x, y = np.clip(point, -_FAR, _FAR) * (1 << _SHIFT)
    return round(float(x)), round(float(y))


def _line(
    canvas: Image,
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    color: Color,
    width: float,
) -> None:
    thickness = max(1, round(width))
    cv2.line(canvas, _fixed_point(start), _fixed_point(end), color, thickness, cv2.LINE_AA, _SHIFT)


def _disc(canvas: Image, center: NDArray[np.float64], color: Color, radius: float) -> None:
    size = round(radius * (1 << _SHIFT))
    cv2.circle(canvas, _fixed_point(center), size, color, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _overlay(heatmap: NDArray[np.float32], crop: Image) -> Image:
    """Colour one (h, w) map by its share of its own peak, over the crop's grey."""
    height, width = crop.shape[:2]
    positive = np.maximum(np.nan_to_num(heatmap), 0)
    share = positive / max(float(positive.max()), 1e-12)
    large = cv2.resize(share, (width, height), interpolation=cv2.INTER_LINEAR)[..., None]
    hot = cv2.applyColorMap((255 * large).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    grey = 0.55 * cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    mixed: Image = np.clip(grey * (1 - large) + hot * large, 0, 255).astype(np.uint8)
    return mixed
