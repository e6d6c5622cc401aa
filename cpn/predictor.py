"""Use a trained model from Python, without Hydra."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from cpn.build import load_model_with_metadata
from cpn.config.data_schema import InputConfig
from cpn.engine.distributed import select_device
from cpn.engine.precision import Precision
from cpn.estimator import EstimatedPoses, PoseEstimator
from cpn.geometry.boxes import xyxy_to_xywh
from cpn.geometry.crop import crop_matrix, grow_box, warp_crop
from cpn.models.folding import folded
from cpn.skeleton import Skeleton

FloatArray = npt.NDArray[np.float64]
Uint8Array = npt.NDArray[np.uint8]


class Poses(NamedTuple):
    """N people of one photo.

    Attributes:
        keypoints: (N, K, 2) in the photo, pixel-index coordinates.
        scores: (N, K) confidence in 0..1.
        boxes_xyxy: (N, 4) the person boxes that were used.
    """

    keypoints: FloatArray
    scores: FloatArray
    boxes_xyxy: FloatArray


class Predictor:
    """Person boxes of a photo -> keypoints.

    >>> predictor = Predictor.from_checkpoint("runs/demo/best.safetensors")  # doctest: +SKIP
    >>> poses = predictor(image_rgb, boxes_xyxy)  # doctest: +SKIP
    """

    def __init__(
        self, estimator: PoseEstimator, input_config: InputConfig, *, batch_size: int = 32
    ) -> None:
        self._estimator = estimator
        self._input = input_config
        self._batch_size = batch_size

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, *, device: str = "auto", batch_size: int = 32
    ) -> "Predictor":
        """From a model file of a run; box rule, decoding and skeleton come from the file.

        Raises:
            FileNotFoundError: there is no such file.
            UserError: it is not a model file of ours, or the device is not there.
        """
        loaded = load_model_with_metadata(Path(path))
        target = select_device(device)
        model = folded(loaded.model, loaded.config.input.size_hw).to(target)
        estimator = PoseEstimator.from_config(
            model.to(memory_format=torch.channels_last),
            loaded.skeleton,
            loaded.config,
            precision=Precision("fp32", target),
        )
        return cls(estimator, loaded.config.input, batch_size=batch_size)

    @property
    def skeleton(self) -> Skeleton:
        """Names, limbs and flip pairs of the keypoints."""
        return self._estimator.skeleton

    def __call__(self, image_rgb: Uint8Array, boxes_xyxy: npt.ArrayLike | None = None) -> Poses:
        """Estimates one pose per box.

        Args:
            image_rgb: (H, W, 3) uint8, upright. OpenCV turns a photo by its EXIF orientation when
                it reads it; Pillow leaves that to `ImageOps.exif_transpose`.
            boxes_xyxy: (N, 4) edge coordinates in the photo; None takes the whole photo as one
                person.

        Raises:
            ValueError: the image is not (H, W, 3) uint8, or a box is not finite or has no extent.
        """
        _check_image(image_rgb)
        height, width = image_rgb.shape[:2]
        given = [[0, 0, width, height]] if boxes_xyxy is None else boxes_xyxy
        boxes = np.asarray(given, dtype=np.float64).reshape(-1, 4)
        matrices = [self._crop_matrix(box) for box in boxes]
        parts = [
            self._estimate(image_rgb, matrices[start : start + self._batch_size])
            for start in range(0, len(matrices), self._batch_size)
        ]
        empty = np.zeros((0, self.skeleton.num_keypoints, 2))
        points = np.concatenate([part.points_image for part in parts] or [empty])
        scores = np.concatenate([part.confidences for part in parts] or [empty[..., 0]])
        return Poses(points, scores, boxes)

    def _crop_matrix(self, box_xyxy: FloatArray) -> FloatArray:
        aspect = self._input.width / self._input.height
        box_xywh = xyxy_to_xywh(box_xyxy)
        center, size = grow_box(box_xywh, aspect=aspect, margin=self._input.margin)
        return crop_matrix(center, size, self._input.size_hw)

    def _estimate(self, image_rgb: Uint8Array, matrices: list[FloatArray]) -> EstimatedPoses:
        input_hw = self._input.size_hw
        crops = np.stack([warp_crop(image_rgb, matrix, input_hw) for matrix in matrices])
        device = self._estimator.model.pixel_mean.device
        batch = torch.from_numpy(crops).permute(0, 3, 1, 2).to(device)
        return self._estimator(batch, torch.from_numpy(np.stack(matrices)))


def _check_image(image_rgb: Uint8Array) -> None:
    if image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.dtype != np.uint8:
        raise ValueError(
            f"image must be (H, W, 3) uint8 RGB, got {image_rgb.shape} {image_rgb.dtype}"
        )
