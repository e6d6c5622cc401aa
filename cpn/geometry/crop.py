"""Image <-> crop <-> heatmap, and the pixel rule that everything else refers to.

The pixel rule:

- Every POINT, in the image, crop or heatmap frame, is in pixel-index coordinates: an integer is the
  centre of that pixel. COCO keypoints are used as annotated; `cv2.warpAffine` means the same.
- Every BOX is in edge coordinates, as COCO's: pixel i covers [i, i + 1), so index = edge - 0.5.
- A heatmap cell of stride s covers s x s crop pixels. Index u in the crop and v in the heatmap:
  v = (u + 0.5) / s - 0.5 and u = (v + 0.5) * s - 0.5.
- Mirroring a frame of width W sends u to W - 1 - u. With W = s * w this agrees exactly with
  v -> w - 1 - v in the heatmap, so a mirrored heatmap needs no shift.

This is unbiased: from points to heatmaps, mirrored and merged, and back, the mean error is 0, as
with UDP's rule of widths W - 1 (Huang et al., CVPR 2020), where v = u / s is 1.5 crop pixels off,
and 0.5 with a map shifted by one cell (`tests/heatmaps/test_unbiased.py`).
"""

import math
from typing import Any, NamedTuple, Protocol, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Uint8Array = npt.NDArray[np.uint8]


class _Arithmetic(Protocol):
    """What numpy arrays, torch tensors and floats have in common."""

    def __add__(self, other: float, /) -> Any: ...  # noqa: ANN401  (each returns its own kind)
    def __sub__(self, other: float, /) -> Any: ...  # noqa: ANN401
    def __mul__(self, other: float, /) -> Any: ...  # noqa: ANN401
    def __truediv__(self, other: float, /) -> Any: ...  # noqa: ANN401


Points = TypeVar("Points", bound=_Arithmetic)

# Of a grown box, in pixels: below it nothing is to be seen, and far below it zooms are infinite.
SMALLEST_SIDE = 1e-3


def grow_box(
    box_xywh: npt.ArrayLike, *, aspect: float, margin: float
) -> tuple[FloatArray, FloatArray]:
    """The smallest box of a given aspect around a box, grown by a margin.

    Args:
        box_xywh: (4,) edge frame.
        aspect: width / height of the result (the network input's).
        margin: factor on both sides afterwards; 1.25 adds 12.5 % of the size on each side.

    Returns:
        center_xy (2,) and size_wh (2,), edge frame. A box without extent in one direction is grown
        from the other one, and none becomes smaller than `SMALLEST_SIDE`.

    Raises:
        ValueError: the box is not finite or has no extent at all.
    """
    x, y, width, height = np.asarray(box_xywh, dtype=np.float64).tolist()
    if not all(map(math.isfinite, (x, y, width, height))) or max(width, height) <= 0:
        raise ValueError(f"box (x, y, w, h) must be finite with a size: {(x, y, width, height)}")
    center = np.array([x + width / 2, y + height / 2])
    height = max(height, width / aspect, SMALLEST_SIDE)
    return center, np.array([height * aspect, height]) * margin


def crop_matrix(
    center: npt.ArrayLike,
    size_wh: npt.ArrayLike,
    input_hw: tuple[int, int],
    *,
    scale: float = 1.0,
    rotation_degrees: float = 0.0,
    flip: bool = False,
) -> FloatArray:
    """The affine map from the image to the crop, both in pixel-index coordinates.

    Args:
        center: (2,) of the box, edge frame; it lands on the crop's centre.
        size_wh: (2,) of the box that fills the crop.
        input_hw: (H, W) of the crop.
        scale: multiplies the box, so 1.3 shows more around and makes the person smaller.
        rotation_degrees: turns the picture clockwise as one looks at it.
        flip: mirrors the crop, after the rotation.

    Returns:
        (2, 3) `matrix`: crop = matrix[:, :2] @ image + matrix[:, 2].
    """
    height, width = input_hw
    # Plain numbers: numpy would take ten times as long for so few.
    center_x, center_y = (value - 0.5 for value in _pair(center))
    box_width, box_height = (value * scale for value in _pair(size_wh))
    angle = math.radians(rotation_degrees)
    zoom_x, zoom_y = width / box_width, height / box_height
    zoom_x = -zoom_x if flip else zoom_x
    a, b = zoom_x * math.cos(angle), -zoom_x * math.sin(angle)
    c, d = zoom_y * math.sin(angle), zoom_y * math.cos(angle)
    return np.array(
        [
            [a, b, (width - 1) / 2 - a * center_x - b * center_y],
            [c, d, (height - 1) / 2 - c * center_x - d * center_y],
        ]
    )


def _pair(values: npt.ArrayLike) -> tuple[float, float]:
    first, second = np.asarray(values, dtype=np.float64).tolist()
    return first, second


class Placement(NamedTuple):
    """Where a stored part of a photo lies in it; the default is the photo itself.

    Attributes:
        x: photo column of the part's left edge.
        y: photo row of its upper edge.
        halvings: how often its size was halved, see `warp_crop`.
    """

    x: int = 0
    y: int = 0
    halvings: int = 0

    def matrix(self, photo_to_crop: FloatArray) -> FloatArray:
        """The (2, 3) map from the part to the crop, given the photo's."""
        if self == (0, 0, 0):
            return photo_to_crop
        # Plain numbers, as in `crop_matrix`. Index i of the part is the centre of `side` photo
        # pixels, from index x + side * i on.
        side = float(2**self.halvings)
        x, y = self.x + (side - 1) / 2, self.y + (side - 1) / 2
        (a, b, u), (c, d, v) = photo_to_crop.tolist()
        return np.array(
            [[side * a, side * b, u + a * x + b * y], [side * c, side * d, v + c * x + d * y]]
        )


def invert_matrix(matrix: npt.ArrayLike) -> FloatArray:
    """The crop -> image map of an image -> crop map (..., 2, 3)."""
    values = np.asarray(matrix, dtype=np.float64)
    linear = np.linalg.inv(values[..., :2])
    return np.concatenate([linear, -linear @ values[..., 2:]], axis=-1)


def transform_points(matrix: npt.ArrayLike, points: npt.ArrayLike) -> FloatArray:
    """Maps points by one matrix, or each instance's points by its own matrix.

    Args:
        matrix: (2, 3), or (N, 2, 3).
        points: (..., 2), or (N, K, 2) with N matrices.

    Returns:
        float64 array of the points' shape.
    """
    values = np.asarray(matrix, dtype=np.float64)
    linear = np.swapaxes(values[..., :2], -1, -2)
    offset = values[:, 2] if values.ndim == 2 else values[..., None, :, 2]
    return np.asarray(np.asarray(points, dtype=np.float64) @ linear + offset)


def warp_crop(
    image: Uint8Array,
    matrix: npt.ArrayLike,
    input_hw: tuple[int, int],
    *,
    out: Uint8Array | None = None,
) -> Uint8Array:
    """Samples the crop with one bilinear warp; what lies outside the image is black.

    A photo with two or more pixels per crop pixel is halved first, as often as that holds: bilinear
    sampling would skip pixels. 2 x 2 means cost a tenth of the decoding.

    Args:
        image: (H, W, 3) uint8, or with a fourth channel that is left out: four are faster to
            sample than three.
        matrix: (2, 3) image -> crop, from `crop_matrix`.
        input_hw: size of the crop.
        out: (input_h, input_w, 3) uint8 to write to; None: new memory.

    Returns:
        (input_h, input_w, 3) uint8; `out` where that is given.
    """
    height, width = input_hw
    values = np.asarray(matrix, dtype=np.float64)
    while _zoom_of_areas(values) <= 0.25 and min(image.shape[:2]) >= 2:
        image, values = _halve(image, values)
    size_wh = (width, height)
    if image.shape[-1] == 3:
        warped = cv2.warpAffine(image, values, size_wh, dst=out, flags=cv2.INTER_LINEAR)
    else:
        four = cv2.warpAffine(image, values, size_wh, flags=cv2.INTER_LINEAR)
        warped = cv2.cvtColor(four, cv2.COLOR_RGBA2RGB, dst=out)
    return np.asarray(warped, dtype=np.uint8) if out is None else out


def _zoom_of_areas(matrix: FloatArray) -> float:
    """|determinant|; numpy's takes as long as a tenth of the warp."""
    (a, b, _), (c, d, _) = matrix.tolist()
    return abs(float(a * d - b * c))


def _halve(image: Uint8Array, matrix: FloatArray) -> tuple[Uint8Array, FloatArray]:
    """The image of 2 x 2 means and its matrix; an odd last row or column is left out."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    even = image[: 2 * height, : 2 * width]
    halved = cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(halved, dtype=np.uint8), Placement(halvings=1).matrix(matrix)


def halve_image(image: Uint8Array, times: int) -> Uint8Array:
    """The image as `warp_crop` halves it, so many times."""
    for _ in range(times):
        image, _ = _halve(image, np.eye(2, 3))
    return image


def crop_to_heatmap(points_crop: Points, stride: float) -> Points:
    """Crop frame -> heatmap frame of the given stride; numpy, torch or float."""
    points_heatmap: Points = (points_crop + 0.5) / stride - 0.5
    return points_heatmap


def heatmap_to_crop(points_heatmap: Points, stride: float) -> Points:
    """Heatmap frame of the given stride -> crop frame; numpy, torch or float."""
    points_crop: Points = (points_heatmap + 0.5) * stride - 0.5
    return points_crop
