"""A runtime in the place of PyTorch, where a network is evaluated."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from torch import Tensor

from cpn.export.runtimes import Runtime
from cpn.prediction.estimator import EstimatedPoses, PoseEstimator


@dataclass(frozen=True)
class RuntimeEstimator(PoseEstimator):
    """`PoseEstimator` whose poses come from an exported graph.

    Attributes:
        runtime: the graph.
        margin: by which it grows boxes.
    """

    runtime: Runtime = field(kw_only=True)
    margin: float = field(kw_only=True)

    def __call__(self, crops: Tensor, image_to_crop: Tensor) -> EstimatedPoses:
        """See `PoseEstimator`; the matrices have no rotation."""
        height, width = crops.shape[-2:]
        boxes = boxes_of(image_to_crop.numpy(), (height, width), self.margin)
        pixels = np.ascontiguousarray(crops.permute(0, 2, 3, 1).numpy())
        found = self.runtime(pixels, boxes)
        return EstimatedPoses(*(each.astype(np.float64) for each in found))


def boxes_of(
    image_to_crop: npt.NDArray[np.float64], input_hw: tuple[int, int], margin: float
) -> npt.NDArray[np.float32]:
    """Boxes (N, 4) that `grow_box` and `crop_matrix` turn into these (N, 2, 3) matrices."""
    height, width = input_hw
    zooms = image_to_crop[:, [0, 1], [0, 1]]
    sizes = np.array([width, height]) / zooms
    centers = (np.array([width - 1, height - 1]) / 2 - image_to_crop[:, :, 2]) / zooms + 0.5
    half = sizes / margin / 2
    return np.concatenate([centers - half, centers + half], axis=1).astype(np.float32)
