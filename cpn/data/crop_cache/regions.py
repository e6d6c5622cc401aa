"""Which part of the photo a person's crops can show, whatever the augmentation draws."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cpn.data.augmentation import Augmentation
from cpn.data.persons import FloatArray, PersonInstances
from cpn.data.transforms import HALF_BODY_MARGIN, PersonCrop, half_body_boxes

IntArray = npt.NDArray[np.int64]

# JPEG codes 16 x 16 pixels together: pieces on that grid lose little when they are coded again.
GRID = 16
ROUNDING = 1e-9
# Pixels around what is shown, of the most halved photo: interpolation reads them. What is stored
# has four times as many, so that it also serves crops of a half or a quarter of the size.
MARGIN = 2
STORED_MARGIN = 8


class Regions(NamedTuple):
    """Parts of N photos.

    Attributes:
        corners: (N, 4) int64 x0, y0, x1, y1 of the photo's pixels, edge frame, inside the photo.
        halvings: (N,) int64: how often `warp_crop` halves the photo for every one of the crops.
        steps: (N,) int64: the left and upper edges are multiples of it.
    """

    corners: IntArray
    halvings: IntArray
    steps: IntArray

    def missing_in(self, corners: IntArray, halvings: IntArray) -> npt.NDArray[np.bool_]:
        """Whether crops may show what stored parts of the photos lack.

        Args:
            corners: (N, 4) of the stored parts.
            halvings: (N,) of the stored parts.

        Returns:
            (N,): they lack extent, or detail, or begin where halving would mix other pixels.
        """
        low, high = corners[:, :2], corners[:, 2:]
        outside = (self.corners[:, :2] < low) | (self.corners[:, 2:] > high)
        beside_grid = low % self.steps[:, None] != 0
        return np.asarray((outside | beside_grid).any(axis=1) | (halvings > self.halvings))


def shown_regions(persons: PersonInstances, crop: PersonCrop, *, margin: int = MARGIN) -> Regions:
    """The smallest parts that hold all that the crops of each of N persons can show.

    They lie on the grid on which the photo is halved, so that halving the part gives the same
    pixels as halving the photo.

    Args:
        persons: in their photos.
        crop: how they are cropped.
        margin: pixels around it, of the most halved photo.
    """
    augmentation = crop.augmentation or Augmentation(
        scale_range=(1.0, 1.0), rotation_probability=0.0, half_body_probability=0.0
    )
    angle = math.radians(augmentation.rotation_degrees * (augmentation.rotation_probability > 0))
    smallest, largest = augmentation.scale_range
    boxes, possible, margins = _drawn_boxes(persons, crop, augmentation)
    aspect = crop.input_hw[1] / crop.input_hw[0]
    centers, sizes = grow_boxes(boxes, aspect=aspect, margins=margins)
    reach = _turned(sizes * largest, angle) / 2
    this = possible[..., None]
    low = np.min(centers - reach, axis=0, where=this, initial=np.inf)
    high = np.max(centers + reach, axis=0, where=this, initial=-np.inf)
    zooms = crop.input_hw[1] / sizes[..., 0]
    widest = np.min(zooms / largest, axis=0, where=possible, initial=np.inf)
    tightest = np.max(zooms / smallest, axis=0, where=possible, initial=0.0)
    # What is stored with a larger margin, for smaller crops, lies on the grid that they need.
    pixels = 2 ** _halvings(widest, ROUNDING) * (margin // MARGIN)
    steps = np.maximum(GRID, pixels)
    room = MARGIN * pixels[:, None]
    corners = _on_grid(low - room, high + room, steps[:, None], persons.image_sizes_hw[:, ::-1])
    sides = (corners[:, 2:] - corners[:, :2]).min(axis=1)
    # At least a pixel is left of what is halved, as of a person beside the photo.
    halvings = np.minimum(_halvings(tightest, -ROUNDING), np.log2(sides).astype(np.int64))
    return Regions(corners, halvings, steps)


def grow_boxes(
    boxes_xywh: FloatArray, *, aspect: float, margins: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """`cpn.geometry.crop.grow_box` of (..., 4) boxes: centers and sizes, (..., 2) each."""
    corners, sizes = boxes_xywh[..., :2], boxes_xywh[..., 2:]
    heights = np.maximum(sizes[..., 1], sizes[..., 0] / aspect) * margins
    return corners + sizes / 2, np.stack([heights * aspect, heights], axis=-1)


def _drawn_boxes(
    persons: PersonInstances, crop: PersonCrop, augmentation: Augmentation
) -> tuple[FloatArray, npt.NDArray[np.bool_], FloatArray]:
    """The boxes a crop may be drawn around: (B, N, 4), (B, N) whether it may, (B, 1) margins."""
    boxes, possible = [persons.boxes_xywh], [np.ones(len(persons), dtype=np.bool_)]
    if augmentation.half_body_probability:
        labelled = persons.keypoints[..., 2] > 0
        enough = labelled.sum(axis=1) > augmentation.half_body_min_keypoints
        for half in crop.halves:
            of_half, usable = half_body_boxes(persons.keypoints[..., :2], labelled, half)
            boxes.append(np.where(usable[:, None], of_half, persons.boxes_xywh))
            possible.append(usable & enough)
    margins = np.array([[crop.margin]] + [[HALF_BODY_MARGIN]] * (len(boxes) - 1))
    return np.stack(boxes), np.stack(possible), margins


def _turned(sizes_wh: FloatArray, largest_angle: float) -> FloatArray:
    """(..., 2) width and height of what boxes cover that are turned by up to an angle."""
    across = sizes_wh[..., ::-1]
    # |own cos a| + |across sin a| is largest where the diagonal lies along the axis.
    angle = np.minimum(np.arctan2(across, sizes_wh), largest_angle)
    return np.asarray(sizes_wh * np.cos(angle) + across * np.sin(angle))


def _halvings(zooms: FloatArray, rounding: float) -> IntArray:
    """How often `warp_crop` halves a photo for crops of a zoom, crop pixels per photo pixel."""
    return np.maximum(0, np.floor(-np.log2(zooms) + rounding)).astype(np.int64)


def _on_grid(low: FloatArray, high: FloatArray, step: IntArray, sizes_wh: IntArray) -> IntArray:
    """(N, 4) corners on multiples of a step, inside the photos; of what is beside them, a pixel."""
    first = np.floor(low / step).astype(np.int64) * step
    last = np.ceil(high / step).astype(np.int64) * step
    first = np.clip(first, 0, np.maximum(0, (sizes_wh - 1) // step * step))
    return np.concatenate([first, np.clip(last, first + 1, sizes_wh)], axis=1)
