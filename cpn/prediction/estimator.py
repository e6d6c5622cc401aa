"""Crops in, points in the photo out: what evaluation and prediction share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cpn.config.schema import DecodeConfig, TrainConfig
from cpn.engine.precision import Precision
from cpn.geometry.crop import heatmap_to_crop, invert_matrix, transform_points
from cpn.heatmaps.decode import (
    decode_flip_test,
    decode_heatmaps,
    keypoint_confidence,
    rescoring_scores,
)
from cpn.heatmaps.encode import HeatmapFamily
from cpn.heatmaps.flip import mirror_images
from cpn.models.cpn import CascadedPyramidNetwork, CpnOutput
from cpn.skeleton import Skeleton

FloatArray = npt.NDArray[np.float64]


class EstimatedPoses(NamedTuple):
    """Keypoints of N people.

    Attributes:
        points_image: (N, K, 2) in the photo.
        confidences: (N, K) in 0..1, to show and to threshold.
        rescoring_scores: (N, K) what evaluation makes a person's score of, see
            `cpn.heatmaps.rescoring_scores`.
    """

    points_image: FloatArray
    confidences: FloatArray
    rescoring_scores: FloatArray


@dataclass(frozen=True)
class PoseEstimator:
    """Network, flip test, decoding and the way back to the photo, batched on the device.

    Attributes:
        model: gives the heatmaps; it stays on its device.
        skeleton: its flip permutation swaps left and right in the flip test.
        decode: the decoding settings.
        family: target family that the model was trained on; it defines the confidence.
        precision: of the forward pass.
    """

    model: CascadedPyramidNetwork
    skeleton: Skeleton
    decode: DecodeConfig
    family: HeatmapFamily
    precision: Precision

    @classmethod
    def from_config(
        cls,
        model: CascadedPyramidNetwork,
        skeleton: Skeleton,
        config: TrainConfig,
        *,
        precision: Precision,
    ) -> "PoseEstimator":
        """With the decoding and the target family of a config."""
        return cls(model, skeleton, config.decode, config.heatmap.family, precision)

    @torch.inference_mode()
    def heatmaps(self, crops: Tensor) -> tuple[Tensor, Tensor | None]:
        """Forward passes.

        Args:
            crops: (N, 3, H, W) uint8 on the model's device.

        Returns:
            The final (N, K, h, w) float32 heatmaps of the crops, and of the mirrored crops where
            the flip test wants them.
        """
        images = self.model.preprocess(crops)
        network: Callable[[Tensor], CpnOutput] = self.precision.autocast_calls(self.model)
        plain = network(images).final.float()
        if not self.decode.flip_test:
            return plain, None
        return plain, network(mirror_images(images)).final.float()

    def __call__(self, crops: Tensor, image_to_crop: Tensor) -> EstimatedPoses:
        """Crops (N, 3, H, W) uint8 and their (N, 2, 3) matrices -> keypoints in the photo."""
        heatmaps, mirrored = self.heatmaps(crops)
        method, blur_kernel = self.decode.method, self.decode.blur_kernel
        if mirrored is None:
            decoded = decode_heatmaps(heatmaps, method=method, blur_kernel=blur_kernel)
        else:
            decoded = decode_flip_test(
                heatmaps,
                mirrored,
                self.skeleton.flip_permutation,
                shift=self.decode.flip_shift,
                method=method,
                blur_kernel=blur_kernel,
            )
        stride = crops.shape[-2] / heatmaps.shape[-2]
        points_crop = heatmap_to_crop(decoded.points.double().cpu().numpy(), stride)
        to_image = invert_matrix(image_to_crop.cpu().numpy())
        confidences = keypoint_confidence(decoded.scores, self.family)
        rescoring = rescoring_scores(decoded.scores, self.family)
        return EstimatedPoses(
            transform_points(to_image, points_crop),
            confidences.double().cpu().numpy(),
            rescoring.double().cpu().numpy(),
        )
