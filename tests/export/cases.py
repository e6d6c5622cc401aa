"""A narrow network with smooth random heatmaps, as an estimator, and people for it."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cpn.config.schema import DecodeConfig
from cpn.engine.precision import Precision
from cpn.heatmaps.encode import HeatmapFamily
from cpn.models.cpn import CpnOutput
from cpn.prediction.estimator import PoseEstimator
from cpn.skeleton import Skeleton

INPUT_HW, MARGIN = (64, 48), 1.25
SKELETON = Skeleton(("nose", "left_eye", "right_eye"), ((1, 2),), ((0, 1),), (0.1, 0.1, 0.1))


class Blobs(nn.Module):
    """Three heatmaps of stride 4: the blurred colours of the crop."""

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("pixel_mean", torch.full((1, 3, 1, 1), 0.4))
        self.register_buffer("pixel_std", torch.full((1, 3, 1, 1), 0.25))
        self.convolution = nn.Conv2d(3, 3, 5, stride=4, padding=2, groups=3)
        nn.init.constant_(self.convolution.weight, 0.02)

    def preprocess(self, crops: Tensor) -> Tensor:
        return (crops.float() - self.pixel_mean * 255) / (self.pixel_std * 255)

    def forward(self, images: Tensor) -> CpnOutput:
        maps: Tensor = self.convolution(images)
        return CpnOutput((maps,), maps / 3 + 0.3)


def estimator(family: HeatmapFamily = "gaussian", **decode: Any) -> PoseEstimator:
    torch.manual_seed(0)
    values = {"method": "dark", "blur_kernel": 11, "flip_test": False, "flip_shift": False}
    model: Any = Blobs().eval()
    precision = Precision("fp32", torch.device("cpu"))
    settings = DecodeConfig.model_validate({**values, **decode})
    return PoseEstimator(model, SKELETON, settings, family, precision)


def people(count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Crops with one bright spot in each colour, and boxes of all shapes.

    No spot lies halfway between two points of the heatmaps: which one is the higher would then
    hang on a rounding, and a runtime may round as it likes.
    """
    rng = np.random.default_rng(count)
    centers = 4 * rng.integers(1, (15, 11), (count, 3, 2)) + rng.uniform(-1.2, 1.2, (count, 3, 2))
    grid = np.moveaxis(np.indices(INPUT_HW), 0, -1)[None, :, :, None]
    squared = ((grid - centers[:, None, None]) ** 2).sum(axis=-1)
    crops = (225 * np.exp(-squared / (2 * 6**2))).astype(np.uint8)
    corners = rng.uniform(-20, 300, (count, 2, 1)) + rng.uniform(1, 400, (count, 2, 2)).cumsum(-1)
    boxes = corners.swapaxes(1, 2).reshape(count, 4).astype(np.float32)
    return crops, boxes
