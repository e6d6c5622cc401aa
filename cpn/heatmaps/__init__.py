"""Points -> heatmaps -> points: targets to train on, and what is read from predictions.

Points are x, y in the crop or the heatmap frame (see `cpn.geometry.crop`); heatmaps are
(N, K, h, w) of N instances and K keypoints.
"""

from cpn.heatmaps.decode import (
    DecodedHeatmaps,
    DecodeMethod,
    decode_heatmaps,
    keypoint_confidence,
    rescoring_scores,
)
from cpn.heatmaps.encode import (
    HeatmapEncoder,
    HeatmapFamily,
    blurred_one_hot_heatmaps,
    gaussian_heatmaps,
)
from cpn.heatmaps.flip import merge_flipped, mirror_images, unflip_heatmaps

__all__ = [
    "DecodeMethod",
    "DecodedHeatmaps",
    "HeatmapEncoder",
    "HeatmapFamily",
    "blurred_one_hot_heatmaps",
    "decode_heatmaps",
    "gaussian_heatmaps",
    "keypoint_confidence",
    "merge_flipped",
    "mirror_images",
    "rescoring_scores",
    "unflip_heatmaps",
]
