"""One photo through detector and pose network, timed, for a page to show."""

from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cpn.demo.stages import Stage, heatmap_stages
from cpn.demo.uploads import BAD_REQUEST, Image, RefusedError, decode_upload, picture_to_show
from cpn.detection.detections import Detections, as_detections
from cpn.prediction.predictor import Predictor

FloatArray = npt.NDArray[np.float64]
# Of a box drawn by hand, in photo pixels.
SMALLEST_BOX = 4.0


class Person(NamedTuple):
    """One person of a photo.

    Attributes:
        box_xyxy: (4,) edge frame of the photo.
        box_score: the detector's; None where no detector found the person.
        keypoints: (K, 2) in the photo, pixel-index frame.
        scores: (K,) in 0..1.
        crop: (H, W, 3) uint8, what the network saw.
    """

    box_xyxy: FloatArray
    box_score: float | None
    keypoints: FloatArray
    scores: FloatArray
    crop: Image


class Timing(NamedTuple):
    """Milliseconds that each part took."""

    decode: float
    detection: float
    pose: float


class Analysis(NamedTuple):
    """What was found in a photo.

    Attributes:
        size_wh: (width, height) of the upright photo.
        people: best first.
        timing: of decoding, detection and poses.
        picture: the upright photo as a JPEG file, perhaps smaller.
    """

    size_wh: tuple[int, int]
    people: list[Person]
    timing: Timing
    picture: bytes


@dataclass(frozen=True)
class Analyst:
    """Finds people and poses as `Predictor` does. One call at a time: it knows no locks.

    Attributes:
        predictor: detector and pose network; without a detector the whole photo is one person.
        max_megapixels: of a photo.
    """

    predictor: Predictor
    max_megapixels: float

    def __call__(self, content: bytes) -> Analysis:
        """An uploaded file -> the people in it.

        Raises:
            RefusedError: as `decode_upload`.
            UserError: the model gave a keypoint or score that is not finite.
        """
        started = perf_counter()
        image = decode_upload(content, max_megapixels=self.max_megapixels)
        decoded = perf_counter()
        (found,) = self.predictor.detect([image])
        detected = perf_counter()
        people = self._people(image, found, found=self.predictor.has_detector)
        timing = _timing(started, decoded, detected, perf_counter())
        height, width = image.shape[:2]
        return Analysis((width, height), people, timing, picture_to_show(image))

    def one_person(self, content: bytes, box_xyxy: FloatArray) -> tuple[Person, Timing]:
        """The person in a box (4,) that somebody drew on the photo; it is clipped to the photo.

        Raises:
            RefusedError: the box has less than `SMALLEST_BOX` pixels of the photo on a side; or as
                `decode_upload`.
        """
        started = perf_counter()
        image = decode_upload(content, max_megapixels=self.max_megapixels)
        decoded = perf_counter()
        height, width = image.shape[:2]
        box = np.clip(box_xyxy, 0, [width, height, width, height])
        smallest = min(SMALLEST_BOX, width, height)
        if not (box[2:] - box[:2] >= smallest).all():  # nor is NaN
            raise RefusedError(
                f"the box must have at least {smallest:g} pixels of the photo on each side",
                BAD_REQUEST,
            )
        (person,) = self._people(image, as_detections(box), found=False)
        return person, _timing(started, decoded, decoded, perf_counter())

    def stages(self, person: Person) -> list[Stage]:
        """The person's heatmaps, see `heatmap_stages`."""
        return heatmap_stages(self.predictor.estimator, person.crop)

    def warm_up(self) -> None:
        """Analyses a grey photo, so that the first real one does not pay for allocations."""
        image = np.full((480, 640, 3), 128, dtype=np.uint8)
        self.predictor.detect([image])
        self._people(image, as_detections([200.0, 40.0, 440.0, 440.0]), found=False)

    def _people(self, image: Image, boxes: Detections, *, found: bool) -> list[Person]:
        """Their poses; of those that a detector found twice the better one stays."""
        (poses,) = self.predictor.pose([image], [boxes], found=found)
        crops = self.predictor.crops([image] * len(poses.scores), poses.boxes_xyxy)
        return [
            Person(
                person.box_xyxy,
                person.box_score if found else None,
                person.keypoints,
                person.scores,
                crop,
            )
            for person, crop in zip(poses.people, crops.images_rgb, strict=True)
        ]


def _timing(*moments: float) -> Timing:
    decode, detection, pose = (1000 * seconds for seconds in np.diff(moments).tolist())
    return Timing(decode, detection, pose)
