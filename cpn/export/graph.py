"""Preprocessing, network, flip test, decoding and the way back to the photo as one module."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from cpn.geometry.crop import SMALLEST_SIDE, heatmap_to_crop
from cpn.heatmaps.decode import decoded_maps, keypoint_confidence, rescoring_scores
from cpn.heatmaps.flip import merge_flipped, mirror_images
from cpn.prediction.estimator import PoseEstimator

Outputs = tuple[Tensor, Tensor, Tensor]


class PoseGraph(nn.Module):
    """`PoseEstimator` with nothing but tensors in and out, for tracing.

    Args:
        estimator: of a network in evaluation mode, on the CPU.
        input_hw: (H, W) of its crops.
        margin: by which boxes are grown, see `grow_box`.
        half: the network computes in fp16; what is around it stays in fp32.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        estimator: PoseEstimator,
        input_hw: tuple[int, int],
        margin: float,
        *,
        half: bool = False,
    ) -> None:
        super().__init__()
        self.register_buffer("pixel_mean", estimator.model.pixel_mean.clone())
        self.register_buffer("pixel_std", estimator.model.pixel_std.clone())
        self.network = deepcopy(estimator.model).half() if half else estimator.model
        self.half_precision = half
        self.permutation = tuple(estimator.skeleton.flip_permutation)
        self.decode = estimator.decode
        self.family = estimator.family
        self.input_hw = input_hw
        self.margin = margin
        self.eval()

    def forward(self, crops: Tensor, boxes_xyxy: Tensor) -> Outputs:
        """People of one or more photos.

        Args:
            crops: (N, H, W, 3) uint8 RGB, cut out as `grow_box` and `crop_matrix` say.
            boxes_xyxy: (N, 4) float32, the boxes before they are grown, edge frame of the photo.

        Returns:
            Keypoints (N, K, 2) in the photo, pixel-index frame; scores (N, K) in 0..1, to show and
            to threshold; and (N, K) what a person's score is made of in evaluation.
        """
        heatmaps = self._heatmaps(crops.permute(0, 3, 1, 2))
        decoded = decoded_maps(
            heatmaps, method=self.decode.method, blur_kernel=self.decode.blur_kernel
        )
        points = heatmap_to_crop(decoded.points, self.input_hw[0] / heatmaps.shape[-2])
        return (
            self._to_photo(points, boxes_xyxy),
            keypoint_confidence(decoded.scores, self.family),
            rescoring_scores(decoded.scores, self.family),
        )

    def _heatmaps(self, crops: Tensor) -> Tensor:
        images = (crops.float() - self.pixel_mean * 255) / (self.pixel_std * 255)
        images = images.half() if self.half_precision else images
        plain: Tensor = self.network(images).final.float()
        if not self.decode.flip_test:
            return plain
        mirrored = self.network(mirror_images(images)).final.float()
        return merge_flipped(plain, mirrored, self.permutation, shift=self.decode.flip_shift)

    def _to_photo(self, points_crop: Tensor, boxes_xyxy: Tensor) -> Tensor:
        """The inverse of `crop_matrix` of `grow_box`, without rotation."""
        height, width = self.input_hw
        corners = boxes_xyxy.reshape(-1, 2, 2)
        sizes = corners[:, 1] - corners[:, 0]
        centers = corners.mean(dim=1) - 0.5
        tallest = torch.maximum(sizes[:, 1], sizes[:, 0] * (height / width))
        zoom = tallest.clamp(min=SMALLEST_SIDE) * (self.margin / height)
        middle = points_crop.new_tensor([(width - 1) / 2, (height - 1) / 2])
        return (points_crop - middle) * zoom[:, None, None] + centers[:, None]
