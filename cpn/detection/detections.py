"""What every person detector gives, whichever network is behind it."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt


class Detections(NamedTuple):
    """The N people found in one photo, best first.

    Attributes:
        boxes_xyxy: (N, 4) float64, edge frame of the photo (see `cpn.geometry.crop`).
        scores: (N,) float64 in 0..1.
    """

    boxes_xyxy: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]


class PersonDetector(Protocol):
    """Finds people in photos."""

    def __call__(self, images_rgb: Sequence[npt.NDArray[np.uint8]]) -> list[Detections]:
        """Upright photos (H, W, 3) uint8, of any sizes -> the people of each."""
        ...


def as_detections(boxes_xyxy: npt.ArrayLike) -> Detections:
    """(N, 4) given boxes, of which there is no doubt: their scores are 1."""
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    return Detections(boxes, np.ones(len(boxes)))
