"""A person detector that does not exist: known boxes, moved, missed, repeated and invented.

It makes the paper's tables of box quality and box NMS (Chen et al., CVPR 2018, Tables 1 and 2)
possible on any data set, without a detector.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cpn.geometry.box_nms import box_iou
from cpn.geometry.boxes import xywh_to_xyxy, xyxy_to_xywh

FloatArray = npt.NDArray[np.float64]

_SMALLEST_SIDE = 1.0  # pixel, of what is left of a box in the photo
_LEAST_SURE = 0.7  # a detector's scores follow its boxes' quality by and by only
_INVENTED_SCORES = (0.05, 0.6)


class PretendedBoxes(NamedTuple):
    """M boxes.

    Attributes:
        sources: (M,) which of the known boxes it was made of; of invented ones, whose photo it is.
        boxes_xywh: (M, 4) edge frame, within the photo.
        scores: (M,).
    """

    sources: npt.NDArray[np.intp]
    boxes_xywh: FloatArray
    scores: FloatArray


@dataclass(frozen=True)
class PretendedDetector:
    """How bad the detector is; all zero: it finds everybody, exactly.

    Attributes:
        jitter: standard deviation of a box's shift over its size, and of the log of its sides.
        missed: share of the known boxes that are not found.
        repeats: mean number of further boxes, each moved by itself, on everybody who is found.
        invented: mean number of boxes per known one that are of nobody.
    """

    jitter: float
    missed: float
    repeats: float
    invented: float

    def detect(
        self,
        boxes_xywh: FloatArray,
        scores: FloatArray,
        sizes_hw: npt.NDArray[np.int64],
        *,
        seed: int,
    ) -> PretendedBoxes:
        """Finds boxes; a function of the arguments.

        Args:
            boxes_xywh: (N, 4) known ones, edge frame.
            scores: (N,) of the known ones; a found box has this times its IoU with the known one
                times a random factor in 0.7..1. Invented ones have a random score in 0.05..0.6.
            sizes_hw: (N, 2) of the photos.
            seed: of the random numbers.
        """
        rng = np.random.default_rng(seed)
        found = np.flatnonzero(rng.uniform(size=len(boxes_xywh)) >= self.missed)
        sources = np.repeat(found, 1 + rng.poisson(self.repeats, len(found)))
        moved = _within(_moved(boxes_xywh[sources], self.jitter, rng), sizes_hw[sources])
        sure = rng.uniform(_LEAST_SURE, 1.0, len(sources)) if self.jitter else 1.0
        overlaps = _pairwise_iou(boxes_xywh[sources], moved)
        invented = np.repeat(
            np.arange(len(boxes_xywh)), rng.poisson(self.invented, len(boxes_xywh))
        )
        elsewhere = _anywhere(boxes_xywh[invented], sizes_hw[invented], rng)
        return PretendedBoxes(
            np.concatenate([sources, invented]),
            np.concatenate([moved, elsewhere]),
            np.concatenate(
                [scores[sources] * overlaps * sure, rng.uniform(*_INVENTED_SCORES, len(invented))]
            ),
        )


def _moved(boxes: FloatArray, jitter: float, rng: np.random.Generator) -> FloatArray:
    sizes = boxes[:, 2:]
    centers = boxes[:, :2] + sizes / 2 + rng.normal(0, jitter, sizes.shape) * sizes
    sizes = sizes * np.exp(rng.normal(0, jitter, sizes.shape))
    return np.concatenate([centers - sizes / 2, sizes], axis=1)


def _anywhere(
    boxes: FloatArray, sizes_hw: npt.NDArray[np.int64], rng: np.random.Generator
) -> FloatArray:
    """Boxes of these sizes at random places of their photos."""
    room = np.maximum(sizes_hw[:, ::-1] - boxes[:, 2:], 0)
    corners = rng.uniform(size=room.shape) * room
    return _within(np.concatenate([corners, boxes[:, 2:]], axis=1), sizes_hw)


def _within(boxes: FloatArray, sizes_hw: npt.NDArray[np.int64]) -> FloatArray:
    """What lies in the photo, of no less than a pixel's width and height."""
    corners = xywh_to_xyxy(boxes)
    sizes_wh = sizes_hw[:, ::-1]
    low = np.clip(corners[:, :2], 0, np.maximum(sizes_wh - _SMALLEST_SIDE, 0))
    high = np.clip(corners[:, 2:], low + _SMALLEST_SIDE, np.maximum(sizes_wh, low + _SMALLEST_SIDE))
    return xyxy_to_xywh(np.concatenate([low, high], axis=1))


def _pairwise_iou(known: FloatArray, moved: FloatArray) -> FloatArray:
    pairs = zip(xywh_to_xyxy(known), xywh_to_xyxy(moved), strict=True)
    return np.array([box_iou(first, second[None])[0] for first, second in pairs])
