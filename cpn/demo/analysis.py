"""One photo through detector and pose network, timed, for a page to show."""

from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch

from cpn.build import LoadedModel
from cpn.demo.stages import Stage, heatmap_stages
from cpn.demo.uploads import BAD_REQUEST, Image, RefusedError, decode_upload, picture_to_show
from cpn.detection.detections import Detections, PersonDetector
from cpn.engine.precision import Precision
from cpn.errors import UserError
from cpn.estimator import PoseEstimator
from cpn.geometry.boxes import xyxy_to_xywh
from cpn.geometry.crop import crop_matrix, grow_box, warp_crop
from cpn.models.folding import folded

FloatArray = npt.NDArray[np.float64]
# People at a time through the network.
_BATCH = 16
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
    """Detector and pose network. One call at a time: it knows no locks.

    Attributes:
        estimator: crops -> keypoints.
        input_hw: (height, width) of its crops.
        margin: by which a box is grown, see `grow_box`.
        detector: None: the whole photo is one person.
        max_people: of a photo, the best ones.
        max_megapixels: of a photo.
    """

    estimator: PoseEstimator
    input_hw: tuple[int, int]
    margin: float
    detector: PersonDetector | None
    max_people: int
    max_megapixels: float

    @classmethod
    def from_model(
        cls,
        loaded: LoadedModel,
        detector: PersonDetector | None,
        *,
        device: torch.device,
        max_people: int,
        max_megapixels: float,
    ) -> Self:
        """Box rule and decoding come from the model file; the pass is fp32."""
        crops = loaded.config.input
        model = folded(loaded.model, crops.size_hw).to(device)
        precision = Precision("fp32", device)
        estimator = PoseEstimator.from_config(
            model.to(memory_format=torch.channels_last),
            loaded.skeleton,
            loaded.config,
            precision=precision,
        )
        return cls(estimator, crops.size_hw, crops.margin, detector, max_people, max_megapixels)

    def __call__(self, content: bytes) -> Analysis:
        """An uploaded file -> the people in it.

        Raises:
            RefusedError: as `decode_upload`.
            UserError: the network gave something that is not finite.
        """
        started = perf_counter()
        image = decode_upload(content, max_megapixels=self.max_megapixels)
        decoded = perf_counter()
        found = self._detect(image)
        detected = perf_counter()
        people = self._estimate(image, found)
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
        (person,) = self._estimate(image, [(box, None)])
        return person, _timing(started, decoded, decoded, perf_counter())

    def stages(self, person: Person) -> list[Stage]:
        """The person's heatmaps, see `heatmap_stages`."""
        return heatmap_stages(self.estimator, person.crop)

    def warm_up(self) -> None:
        """Analyses a grey photo, so that the first real one does not pay for allocations."""
        image = np.full((480, 640, 3), 128, dtype=np.uint8)
        self._detect(image)
        self._estimate(image, [(np.array([200.0, 40.0, 440.0, 440.0]), None)])

    def _detect(self, image: Image) -> list[tuple[FloatArray, float | None]]:
        if self.detector is None:
            height, width = image.shape[:2]
            return [(np.array([0.0, 0.0, width, height]), None)]
        (found,) = self.detector([image])
        assert isinstance(found, Detections)
        pairs = zip(found.boxes_xyxy, found.scores.tolist(), strict=True)
        return list(pairs)[: self.max_people]

    def _estimate(self, image: Image, boxes: list[tuple[FloatArray, float | None]]) -> list[Person]:
        matrices = [self._crop_matrix(box) for box, _ in boxes]
        crops = [warp_crop(image, matrix, self.input_hw) for matrix in matrices]
        people: list[Person] = []
        device = self.estimator.model.pixel_mean.device
        for start in range(0, len(boxes), _BATCH):
            some = slice(start, start + _BATCH)
            batch = torch.from_numpy(np.stack(crops[some])).permute(0, 3, 1, 2).to(device)
            poses = self.estimator(batch, torch.from_numpy(np.stack(matrices[some])))
            if not (np.isfinite(poses.points_image).all() and np.isfinite(poses.confidences).all()):
                raise UserError(
                    "the network gave keypoints or scores that are not finite; it has diverged,"
                    " start the demo with another checkpoint"
                )
            for (box, score), crop, points, confidences in zip(
                boxes[some], crops[some], poses.points_image, poses.confidences, strict=True
            ):
                people.append(Person(box, score, points, confidences, crop))
        return people

    def _crop_matrix(self, box_xyxy: FloatArray) -> FloatArray:
        height, width = self.input_hw
        center, size = grow_box(xyxy_to_xywh(box_xyxy), aspect=width / height, margin=self.margin)
        return crop_matrix(center, size, self.input_hw)


def _timing(*moments: float) -> Timing:
    decode, detection, pose = (1000 * seconds for seconds in np.diff(moments).tolist())
    return Timing(decode, detection, pose)
