"""Use a trained model from Python, without Hydra."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from cpn.build import LoadedModel, load_model_with_metadata
from cpn.config.data_schema import InputConfig
from cpn.config.schema import PostprocessConfig
from cpn.detection.detections import Detections, PersonDetector, as_detections
from cpn.engine.distributed import select_device
from cpn.engine.precision import Precision, inference_precision
from cpn.errors import UserError
from cpn.evaluation.predictions import PosePredictions
from cpn.geometry.boxes import xyxy_to_xywh
from cpn.geometry.crop import crop_matrix, grow_box, warp_crop
from cpn.models.folding import folded
from cpn.postprocess import rescore, suppress
from cpn.prediction.estimator import EstimatedPoses, PoseEstimator
from cpn.prediction.person_detector import TrainedDetector
from cpn.prediction.poses import Poses
from cpn.skeleton import Skeleton

FloatArray = npt.NDArray[np.float64]
Uint8Array = npt.NDArray[np.uint8]


class Crops(NamedTuple):
    """What the network sees of N people.

    Attributes:
        images_rgb: (N, H, W, 3) uint8.
        photo_to_crop: (N, 2, 3) matrices, see `cpn.geometry.crop`.
    """

    images_rgb: Uint8Array
    photo_to_crop: FloatArray


class Predictor:
    """Photo -> the keypoints of the people in it.

    >>> predictor = Predictor.from_checkpoint("runs/demo/best.safetensors")  # doctest: +SKIP
    >>> poses = predictor(image_rgb, boxes_xyxy)  # doctest: +SKIP
    >>> predictor = Predictor.from_checkpoint(
    ...     "runs/demo/best.safetensors", detector="runs/detector/best.safetensors"
    ... )  # doctest: +SKIP
    >>> [person.keypoints for person in predictor(image_rgb).people]  # doctest: +SKIP

    Args:
        estimator: crops to keypoints.
        input_config: how boxes become crops.
        postprocess: how people are scored, and which found people are the same one.
        detector: finds the people where no boxes are given; None takes the whole photo as one.
        batch_size: people at once in the network.

    Attributes:
        estimator: the same.
    """

    def __init__(
        self,
        estimator: PoseEstimator,
        input_config: InputConfig,
        postprocess: PostprocessConfig,
        *,
        detector: PersonDetector | None = None,
        batch_size: int = 32,
    ) -> None:
        self.estimator = estimator
        self._input = input_config
        self._postprocess = postprocess
        self._detector = detector
        self._batch_size = batch_size

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        *,
        detector: str | Path | PersonDetector | None = None,
        device: str = "auto",
        precision: str = "auto",
        batch_size: int = 32,
    ) -> "Predictor":
        """From a model file of a run; box rule, decoding and skeleton come from the file.

        Args:
            path: the model file.
            detector: finds the people: a model file of a detector, or anything that gives boxes.
            device: `auto`, `cpu` or `cuda`.
            precision: `fp32`, `bf16`, `fp16`, or `auto`: half precision on a GPU, else fp32.
            batch_size: people at once in the network.

        Raises:
            FileNotFoundError: there is no such file.
            UserError: it is not a model file of ours, or the device is not there.
        """
        loaded = load_model_with_metadata(Path(path))
        target = select_device(device)
        name = inference_precision(precision, target)
        if isinstance(detector, str | Path):
            detector = TrainedDetector.from_checkpoint(detector, device=device, precision=name)
        return cls.from_model(
            loaded, detector=detector, precision=Precision(name, target), batch_size=batch_size
        )

    @classmethod
    def from_model(
        cls,
        loaded: LoadedModel,
        *,
        detector: PersonDetector | None,
        precision: Precision,
        batch_size: int = 32,
    ) -> "Predictor":
        """From what a model file holds; it works on the device of the precision."""
        model = folded(loaded.model, loaded.config.input.size_hw).to(precision.device)
        estimator = PoseEstimator.from_config(
            model.to(memory_format=torch.channels_last),
            loaded.skeleton,
            loaded.config,
            precision=precision,
        )
        return cls(
            estimator,
            loaded.config.input,
            loaded.config.postprocess,
            detector=detector,
            batch_size=batch_size,
        )

    @property
    def skeleton(self) -> Skeleton:
        """Names, limbs and flip pairs of the keypoints."""
        return self.estimator.skeleton

    @property
    def has_detector(self) -> bool:
        """Whether people are found where no boxes are given."""
        return self._detector is not None

    def __call__(self, image_rgb: Uint8Array, boxes_xyxy: npt.ArrayLike | None = None) -> Poses:
        """Estimates one pose per box.

        Args:
            image_rgb: (H, W, 3) uint8, upright. OpenCV turns a photo by its EXIF orientation when
                it reads it; Pillow leaves that to `ImageOps.exif_transpose`.
            boxes_xyxy: (N, 4) edge coordinates in the photo; None has the detector find the people,
                and without one takes the whole photo as one person.

        Returns:
            With given boxes a pose for each, in their order; people that were found come best
            first, and of several poses on one person the best stays.

        Raises:
            ValueError: the image is not (H, W, 3) uint8, or a box is not finite or has no extent.
        """
        return self.batch([image_rgb], None if boxes_xyxy is None else [boxes_xyxy])[0]

    def batch(
        self,
        images_rgb: Sequence[Uint8Array],
        boxes_xyxy: Sequence[npt.ArrayLike] | None = None,
    ) -> list[Poses]:
        """The same for many photos, all their people together in the network's batches.

        Args:
            images_rgb: photos as for a call, of any sizes.
            boxes_xyxy: of each photo, or None.

        Raises:
            ValueError: as for a call, or there are not as many boxes' lists as photos.
            UserError: the model gave a keypoint or score that is not finite.
        """
        if boxes_xyxy is None:
            return self.pose(images_rgb, self.detect(images_rgb), found=self.has_detector)
        return self.pose(images_rgb, [as_detections(boxes) for boxes in boxes_xyxy])

    def detect(self, images_rgb: Sequence[Uint8Array]) -> list[Detections]:
        """The people of each photo; without a detector each is one person as large as the photo.

        Raises:
            ValueError: an image is not (H, W, 3) uint8.
        """
        for image in images_rgb:
            _check_image(image)
        if self._detector is not None:
            return self._detector(images_rgb) if len(images_rgb) else []
        return [as_detections([0, 0, image.shape[1], image.shape[0]]) for image in images_rgb]

    def pose(
        self, images_rgb: Sequence[Uint8Array], people: Sequence[Detections], *, found: bool = False
    ) -> list[Poses]:
        """The second half of `batch`: the poses of the people of each photo.

        Args:
            images_rgb: the photos.
            people: of each photo.
            found: they come from a detector, which may find somebody twice.

        Raises:
            ValueError, UserError: as for `batch`.
        """
        if len(images_rgb) != len(people):
            raise ValueError(f"{len(images_rgb)} images, but boxes for {len(people)}")
        for image in images_rgb:
            _check_image(image)
        boxes = np.concatenate([np.zeros((0, 4)), *(each.boxes_xyxy for each in people)])
        owners = np.repeat(np.arange(len(people)), [len(each.scores) for each in people])
        estimated = self._estimate_all(images_rgb, boxes, owners)
        ends = np.cumsum([0, *(len(each.scores) for each in people)]).tolist()
        return [
            self._finish(each, EstimatedPoses(*(part[low:high] for part in estimated)), found=found)
            for each, (low, high) in zip(people, pairwise(ends), strict=True)
        ]

    def crops(self, images_rgb: Sequence[Uint8Array], boxes_xyxy: FloatArray) -> Crops:
        """What the network sees of (N, 4) boxes, each of them in its own of N images.

        Raises:
            ValueError: a box is not finite or has no extent.
        """
        height, width = self._input.size_hw
        matrices, crops = np.zeros((len(boxes_xyxy), 2, 3)), []
        for matrix, image, box in zip(matrices, images_rgb, boxes_xyxy, strict=True):
            matrix[:] = self._crop_matrix(box)
            crops.append(warp_crop(image, matrix, (height, width)))
        return Crops(np.array(crops, dtype=np.uint8).reshape(-1, height, width, 3), matrices)

    def _estimate_all(
        self,
        images_rgb: Sequence[Uint8Array],
        boxes_xyxy: FloatArray,
        owners: npt.NDArray[np.int64],
    ) -> EstimatedPoses:
        """The poses of (N, 4) boxes, each of them in the image that owns it."""
        parts = [self._none]
        for start in range(0, len(boxes_xyxy), self._batch_size):
            chosen = slice(start, start + self._batch_size)
            images = [images_rgb[owner] for owner in owners[chosen]]
            parts.append(self._estimate(self.crops(images, boxes_xyxy[chosen])))
        return EstimatedPoses(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    @property
    def _none(self) -> EstimatedPoses:
        k = self.skeleton.num_keypoints
        return EstimatedPoses(np.zeros((0, k, 2)), np.zeros((0, k)), np.zeros((0, k)))

    def _crop_matrix(self, box_xyxy: FloatArray) -> FloatArray:
        aspect = self._input.width / self._input.height
        box_xywh = xyxy_to_xywh(box_xyxy)
        center, size = grow_box(box_xywh, aspect=aspect, margin=self._input.margin)
        return crop_matrix(center, size, self._input.size_hw)

    def _estimate(self, crops: Crops) -> EstimatedPoses:
        device = self.estimator.model.pixel_mean.device
        batch = torch.from_numpy(crops.images_rgb).permute(0, 3, 1, 2).to(device)
        return self.estimator(batch, torch.from_numpy(crops.photo_to_crop))

    def _finish(self, people: Detections, poses: EstimatedPoses, *, found: bool) -> Poses:
        """Scores the people of one photo; of found ones that are the same the best stays."""
        _refuse_diverged(poses)
        widths_heights = people.boxes_xyxy[:, 2:] - people.boxes_xyxy[:, :2]
        predictions = PosePredictions(
            image_ids=np.zeros(len(people.scores), dtype=np.int64),
            instance_ids=np.arange(len(people.scores)),
            keypoints=poses.points_image,
            keypoint_scores=poses.rescoring_scores,
            box_scores=people.scores,
            areas=widths_heights.prod(axis=1),
        )
        settings = self._postprocess
        scores = rescore(
            predictions, mode=settings.score, keypoint_threshold=settings.keypoint_threshold
        )
        kept, kept_scores = predictions, scores
        if found:
            kept, kept_scores = suppress(
                *(predictions, scores),
                method=settings.nms,
                threshold=settings.nms_threshold,
                sigmas=self.skeleton.sigmas,
            )
        rows = kept.instance_ids
        return Poses(
            kept.keypoints,
            poses.confidences[rows],
            people.boxes_xyxy[rows],
            kept.box_scores,
            kept_scores,
        )


def _refuse_diverged(poses: EstimatedPoses) -> None:
    values = np.dstack([poses.points_image, poses.confidences, poses.rescoring_scores])
    finite = np.isfinite(values).all(axis=(1, 2))
    if not finite.all():
        raise UserError(
            f"{np.count_nonzero(~finite)} of {finite.size} poses have keypoints or scores that are"
            " not finite; the model has diverged, use another checkpoint"
        )


def _check_image(image_rgb: Uint8Array) -> None:
    if image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.dtype != np.uint8:
        raise ValueError(
            f"image must be (H, W, 3) uint8 RGB, got {image_rgb.shape} {image_rgb.dtype}"
        )
