"""A training photo and its augmentation: scale, window, flip and colour in one warp.

Boxes, keypoints and outlines go through the warp's matrix. What a network needs beyond that
(normalising, padding) is the network's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from cpn.data.annotated_photos import AnnotatedPhoto
from cpn.data.photometrics import colour_matrix
from cpn.geometry.crop import crop_matrix, transform_points, warp_crop

FloatArray = npt.NDArray[np.float64]
Uint8Array = npt.NDArray[np.uint8]

# A window in which nobody is left is drawn again, so often; then the whole photo is shown.
MAX_DRAWS = 5
# On the training photo, in pixels. What is smaller is not to be found.
SMALLEST_PERSON = 2.0
# An outline is traced point by point, also far outside of what is shown.
_FARTHEST = 1e4


@dataclass(frozen=True)
class PhotoAugmentation:
    """How training photos vary.

    Attributes:
        scale_range: factor on the scale at which the photo just fits; above 1 a random window of
            it is shown.
        flip_probability: share of photos that are mirrored.
        min_visible: people of whose box less than this share is in the window are not labelled.
        brightness: strength b: factor uniform in [1 - b, 1 + b].
        contrast: strength, around mid-grey.
        saturation: strength, around each pixel's grey value.
    """

    scale_range: tuple[float, float] = (0.8, 1.25)
    flip_probability: float = 0.5
    min_visible: float = 0.25
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2


class TransformedPhoto(NamedTuple):
    """h x w pixels with P people.

    Attributes:
        pixels: (h, w, 3) uint8 RGB.
        boxes_xyxy: (P, 4) float32, edge frame.
        keypoints: (P, K, 3) float32, pixel-index coordinates; v = 0 outside.
        masks: (P, h, w) uint8 of 0 and 1; None where none are wanted.
    """

    pixels: Uint8Array
    boxes_xyxy: npt.NDArray[np.float32]
    keypoints: npt.NDArray[np.float32]
    masks: Uint8Array | None


class _Window(NamedTuple):
    """What is shown: (2, 3) photo -> shown, its size, whether it is mirrored."""

    matrix: FloatArray
    size_hw: tuple[int, int]
    flip: bool


class PhotoTransform:
    """Photo and people -> what is trained on.

    Args:
        canvas_hw: (H, W) that nothing may exceed.
        augmentation: how it varies.
        flip_permutation: (K,) which keypoint takes which one's place in a mirror; empty without
            keypoints.
        masks: draw everybody's mask.
    """

    def __init__(
        self,
        canvas_hw: tuple[int, int],
        augmentation: PhotoAugmentation,
        *,
        flip_permutation: Sequence[int] = (),
        masks: bool = False,
    ) -> None:
        self.canvas_hw = canvas_hw
        self.augmentation = augmentation
        self.flip_permutation = list(flip_permutation)
        self.masks = masks

    def __call__(
        self,
        pixels: Uint8Array,
        photo: AnnotatedPhoto,
        rng: np.random.Generator,
        *,
        canvas_hw: tuple[int, int] | None = None,
    ) -> TransformedPhoto:
        """One training photo.

        Args:
            pixels: (h, w, 3) uint8, or with a fourth channel that is left out.
            photo: who is in it.
            rng: gives all randomness.
            canvas_hw: for this photo, not above the usual one; None: that.
        """
        window = self._draw(photo, rng, canvas_hw or self.canvas_hw)
        boxes, shares = shown_boxes(photo.boxes_xyxy, window.matrix, window.size_hw)
        kept = self._kept(boxes, shares)
        people = np.flatnonzero(kept)
        shown = warp_crop(pixels, window.matrix, window.size_hw)
        return TransformedPhoto(
            pixels=self._recoloured(shown, rng),
            boxes_xyxy=boxes[kept].astype(np.float32),
            keypoints=self._keypoints(photo.keypoints[kept], window),
            masks=self._masks([photo.outlines[person] for person in people], window),
        )

    def _draw(
        self, photo: AnnotatedPhoto, rng: np.random.Generator, canvas_hw: tuple[int, int]
    ) -> _Window:
        low, high = self.augmentation.scale_range
        flip = bool(rng.random() < self.augmentation.flip_probability)
        for _ in range(MAX_DRAWS):
            factor, place = rng.uniform(low, high), rng.random(2)
            window = draw_window(photo.image_size_hw, canvas_hw, factor, place, flip=flip)
            boxes, shares = shown_boxes(photo.boxes_xyxy, window.matrix, window.size_hw)
            if self._kept(boxes, shares).any() or not len(boxes):
                return window
        return draw_window(photo.image_size_hw, canvas_hw, min(1.0, high), np.zeros(2), flip=flip)

    def _kept(self, boxes: FloatArray, shares: FloatArray) -> npt.NDArray[np.bool_]:
        large = (boxes[:, 2:] - boxes[:, :2]).min(axis=1) >= SMALLEST_PERSON
        return np.asarray(large & (shares >= self.augmentation.min_visible))

    def _keypoints(self, keypoints: FloatArray, window: _Window) -> npt.NDArray[np.float32]:
        if not keypoints.shape[1]:
            return keypoints.astype(np.float32)
        points = transform_points(window.matrix, keypoints[..., :2])
        height, width = window.size_hw
        inside = ((points >= -0.5) & (points < np.array([width, height]) - 0.5)).all(axis=-1)
        moved = np.dstack([points, np.where(inside, keypoints[..., 2], 0)])
        moved[moved[..., 2] == 0] = 0
        return (moved[:, self.flip_permutation] if window.flip else moved).astype(np.float32)

    def _masks(
        self, outlines: Sequence[list[npt.NDArray[np.float32]]], window: _Window
    ) -> Uint8Array | None:
        if not self.masks:
            return None
        masks = np.zeros((len(outlines), *window.size_hw), dtype=np.uint8)
        for mask, rings in zip(masks, outlines, strict=True):
            moved = [transform_points(window.matrix, ring - 0.5) + 0.5 for ring in rings]
            mask[:] = filled_outline(moved, window.size_hw)
        return masks

    def _recoloured(self, pixels: Uint8Array, rng: np.random.Generator) -> Uint8Array:
        how = self.augmentation
        strengths = np.array([how.brightness, how.contrast, how.saturation])
        factors = 1.0 + strengths * rng.uniform(-1.0, 1.0, 3)
        if not strengths.any():
            return pixels
        return np.asarray(cv2.transform(pixels, colour_matrix(*factors.tolist())), dtype=np.uint8)


def draw_window(
    size_hw: tuple[int, int],
    canvas_hw: tuple[int, int],
    factor: float,
    place: npt.ArrayLike,
    *,
    flip: bool,
) -> _Window:
    """The part of a photo that fills at most the canvas at a given scale.

    Args:
        size_hw: of the photo.
        canvas_hw: of the canvas.
        factor: on the scale at which the whole photo just fits.
        place: (2,) in 0..1, where the window is if it is smaller than the photo, x and y.
        flip: mirror it.
    """
    size, canvas = np.array(size_hw[::-1], float), np.array(canvas_hw[::-1], float)
    scale = (canvas / size).min() * factor
    shown = np.minimum(size, canvas / scale)
    low = np.asarray(place) * (size - shown)
    width, height = np.clip(np.round(shown * scale), 1, canvas).astype(int).tolist()
    matrix = crop_matrix(low + shown / 2, shown, (height, width), flip=flip)
    return _Window(matrix, (height, width), flip)


def filled_outline(rings: Sequence[FloatArray], size_hw: tuple[int, int]) -> Uint8Array:
    """COCO's mask of a person: what is inside of any of its polygons.

    (`cv2.fillPoly` draws the polygon's edge, too: masks would be a pixel too wide and high.)

    Args:
        rings: one or more polygons (V, 2), edge frame, three points or more each.
        size_hw: of the mask.

    Returns:
        (H, W) uint8 of 0 and 1.
    """
    height, width = size_hw
    # Column by column, as COCO stores masks; with x and y exchanged that is row by row.
    flat = [np.clip(ring[:, ::-1], -_FARTHEST, _FARTHEST).ravel().tolist() for ring in rings]
    runs = coco_mask.merge(coco_mask.frPyObjects(flat, width, height))
    return np.asarray(coco_mask.decode(runs).T, dtype=np.uint8)


def shown_boxes(
    boxes_xyxy: FloatArray, matrix: FloatArray, size_hw: tuple[int, int]
) -> tuple[FloatArray, FloatArray]:
    """Boxes under a map without rotation, cut at the edges, and the share of each that is left.

    Args:
        boxes_xyxy: (P, 4) edge frame.
        matrix: (2, 3).
        size_hw: where they are cut.
    """
    corners = transform_points(matrix, boxes_xyxy.reshape(-1, 2, 2) - 0.5) + 0.5
    low, high = corners.min(axis=1), corners.max(axis=1)
    limit = np.array(size_hw[::-1], dtype=float)
    cut_low, cut_high = np.clip(low, 0, limit), np.clip(high, 0, limit)
    areas = np.prod(high - low, axis=1)
    shares = np.prod(cut_high - cut_low, axis=1) / np.maximum(areas, 1e-12)
    return np.concatenate([cut_low, cut_high], axis=1), shares
