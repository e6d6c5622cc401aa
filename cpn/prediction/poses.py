"""What prediction gives: the people of a photo or frame, and their keypoints."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Person:
    """One person of one photo.

    Attributes:
        keypoints: (K, 2) in the photo, pixel-index coordinates (see `cpn.geometry.crop`).
        scores: (K,) confidence in 0..1.
        box_xyxy: (4,) the person box that was used, edge coordinates.
        box_score: how sure the detector is of the box, in 0..1; 1 of a given box.
        score: of the whole person, as evaluation ranks people.
        track: the person's number in a video, from 1; None where nobody is tracked.
    """

    keypoints: FloatArray
    scores: FloatArray
    box_xyxy: FloatArray
    box_score: float
    score: float
    track: int | None


class Poses(NamedTuple):
    """N people of one photo: as arrays, and one by one as `people`.

    Attributes:
        keypoints: (N, K, 2) in the photo, pixel-index coordinates.
        scores: (N, K) confidence in 0..1.
        boxes_xyxy: (N, 4) the person boxes that were used.
        box_scores: (N,) in 0..1; 1 for given boxes.
        person_scores: (N,) of whole persons, as the model's `postprocess.score` says.
        tracks: (N,) numbers of people in a video, from 1, 0 for none; None outside of one.
    """

    keypoints: FloatArray
    scores: FloatArray
    boxes_xyxy: FloatArray
    box_scores: FloatArray
    person_scores: FloatArray
    tracks: npt.NDArray[np.int64] | None = None

    @property
    def people(self) -> list[Person]:
        """The same, person by person."""
        tracks = [0] * len(self.scores) if self.tracks is None else self.tracks.tolist()
        return [
            Person(points, scores, box, float(box_score), float(score), track or None)
            for points, scores, box, box_score, score, track in zip(
                *(self.keypoints, self.scores, self.boxes_xyxy),
                *(self.box_scores, self.person_scores, tracks),
                strict=True,
            )
        ]
