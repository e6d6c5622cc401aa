"""The heatmaps of one person, stage by stage: GlobalNet's levels, coarse to fine, then RefineNet.

The network's plain pass, without the mirrored one of the flip test: each stage says what it alone
finds.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from cpn.geometry.crop import heatmap_to_crop
from cpn.heatmaps.encode import heatmap_peak
from cpn.models.cpn import CascadedPyramidNetwork, CpnOutput
from cpn.prediction.estimator import PoseEstimator

REFINED = "RefineNet"


class Stage(NamedTuple):
    """K heatmaps of a crop.

    Attributes:
        name: "P5", or "RefineNet".
        maps: (K, h, w) uint8, each from 0 to its own peak at 255; negative values are 0.
        peaks: (K,) those peaks over the targets' peak: 1 is what a certain network gives.
        points_crop: (K, 2) the highest cells' centres, pixel-index frame of the crop.
    """

    name: str
    maps: npt.NDArray[np.uint8]
    peaks: npt.NDArray[np.float64]
    points_crop: npt.NDArray[np.float64]


def stage_names(model: CascadedPyramidNetwork) -> list[str]:
    """Coarse to fine, as `heatmap_stages` gives them."""
    levels = [name.upper() for name in model.level_names]
    return levels if model.refine_net is None else [*levels, REFINED]


@torch.inference_mode()
def heatmap_stages(estimator: PoseEstimator, crop: npt.NDArray[np.uint8]) -> list[Stage]:
    """All heatmaps of one crop (H, W, 3) uint8."""
    model = estimator.model
    batch = torch.from_numpy(crop[None]).permute(0, 3, 1, 2).to(model.pixel_mean.device)
    output: CpnOutput = estimator.precision.autocast_calls(model)(model.preprocess(batch))
    refined = [] if output.refined_heatmaps is None else [output.refined_heatmaps]
    peak = heatmap_peak(estimator.family)
    return [
        _stage(name, maps[0].double().cpu().numpy() / peak, crop.shape[0])
        for name, maps in zip(stage_names(model), [*output.global_heatmaps, *refined], strict=True)
    ]


def _stage(name: str, heatmaps: npt.NDArray[np.float64], crop_height: int) -> Stage:
    count, height, width = heatmaps.shape
    maps = np.maximum(np.nan_to_num(heatmaps), 0)
    flat = maps.reshape(count, -1)
    cells = flat.argmax(axis=1)
    peaks = flat.max(axis=1)
    shares = maps / np.maximum(peaks, 1e-12)[:, None, None]
    points = np.column_stack([cells % width, cells // width]).astype(np.float64)
    points_crop = heatmap_to_crop(points, crop_height / height)
    return Stage(name, np.round(255 * shares).astype(np.uint8), peaks, points_crop)
