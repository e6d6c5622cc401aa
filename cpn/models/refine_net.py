"""RefineNet: all pyramid levels, deepened, upsampled, concatenated (CPN section 3.3)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cpn.models.global_net import check_head
from cpn.models.layers import (
    Bottleneck,
    HeatmapConv,
    Norm,
    Order,
    Projection,
    initialise_weights,
    level_name,
    output_normalisation,
    resize,
)

CPN_BOTTLENECKS: Mapping[int, int] = {2: 0, 3: 1, 4: 2, 5: 3}
"""Bottlenecks per level in the paper: the coarser, the more."""


class RefineNet(nn.Module):
    """Bottlenecks per level, bilinear to the output size, concatenation, bottleneck, K heatmaps.

    A bottleneck narrows to half of the pyramid's channels.

    Args:
        bottlenecks: how many each level gets; its keys are the levels that are fed. {2: 0, 3: 0,
            4: 0, 5: 0} is the paper's plain concatenation, {2: 0} feeds C2 alone.
        channels: of every pyramid level.
        num_keypoints: K.
        heatmap_stride: input pixels per output cell.
        projection: 1x1 on every shortcut ("always", pytorch-cpn) or "when_needed" (tf-cpn).
        output_norm: BatchNorm over the K heatmaps (pytorch-cpn).
        norm: inside the bottlenecks.
        align_corners: of the bilinear upsampling.

    Attributes:
        levels: coarse to fine, the order of concatenation.
        order: "coarse_first" runs the last bottleneck's 1x1 convolutions at each level's own
            size, "published" on the concatenated maps; the results are the same.

    Raises:
        ValueError: no levels, a negative count, or a number or name that is not allowed.
    """

    def __init__(
        self,
        bottlenecks: Mapping[int, int] = CPN_BOTTLENECKS,
        channels: int = 256,
        num_keypoints: int = 17,
        *,
        heatmap_stride: int = 4,
        projection: Projection = "always",
        output_norm: bool = True,
        norm: Norm = "batch",
        align_corners: bool = True,
    ) -> None:
        super().__init__()
        if not bottlenecks:
            raise ValueError("RefineNet needs at least one pyramid level")
        if negative := {level: count for level, count in bottlenecks.items() if count < 0}:
            raise ValueError(f"bottleneck counts must be at least 0, got {negative}")
        check_head(channels, num_keypoints, heatmap_stride)
        self.order: Order = "coarse_first"
        self.levels = tuple(sorted(bottlenecks, reverse=True))
        self.channels = channels
        self.num_keypoints = num_keypoints
        self.heatmap_stride = heatmap_stride
        self.align_corners = align_corners

        def bottleneck(in_channels: int) -> Bottleneck:
            width = max(1, channels // 2)
            return Bottleneck(in_channels, width, channels, projection=projection, norm=norm)

        self.cascade = nn.ModuleDict(
            {
                level_name(level): nn.Sequential(
                    *(bottleneck(channels) for _ in range(bottlenecks[level]))
                )
                for level in self.levels
            }
        )
        self.fuse = bottleneck(channels * len(self.levels))
        self.heatmaps = HeatmapConv(channels, num_keypoints, normalised=output_norm)
        self.norm = output_normalisation(output_norm, num_keypoints)
        initialise_weights(self)

    def forward(self, features: Mapping[int, Tensor], input_hw: tuple[int, int]) -> Tensor:
        """Pyramid levels (N, C, h_l, w_l) -> heatmaps (N, K, h, w), h x w = input_hw // stride."""
        size_hw = (input_hw[0] // self.heatmap_stride, input_hw[1] // self.heatmap_stride)
        branches = [self.cascade[level_name(level)](features[level]) for level in self.levels]
        corners = self.align_corners
        if self.order == "published":
            resized = [resize(branch, size_hw, align_corners=corners) for branch in branches]
            fused = self.fuse(torch.cat(resized, dim=1))
        else:
            fused = self.fuse.over_resized(branches, size_hw, align_corners=corners)
        out: Tensor = self.norm(self.heatmaps(fused))
        return out
