"""GlobalNet: keypoint heatmaps at every pyramid level (CPN section 3.2)."""

from collections.abc import Mapping
from typing import Literal, get_args

from torch import Tensor, nn

from cpn.models.layers import (
    ConvNorm,
    HeatmapConv,
    Norm,
    initialise_weights,
    level_name,
    output_normalisation,
    resize,
)

Supervision = Literal["upsampled", "native"]


class HeatmapPredictor(nn.Module):
    """1x1, norm, ReLU; 3x3 to K maps; bilinear to the output size; norm over the K maps."""

    def __init__(
        self,
        channels: int,
        num_keypoints: int,
        *,
        output_norm: bool = True,
        norm: Norm = "batch",
        align_corners: bool = True,
    ) -> None:
        super().__init__()
        self.hidden = ConvNorm(channels, channels, norm=norm)
        self.heatmaps = HeatmapConv(channels, num_keypoints, normalised=output_norm)
        self.norm = output_normalisation(output_norm, num_keypoints)
        self.align_corners = align_corners

    def forward(self, x: Tensor, size_hw: tuple[int, int] | None) -> Tensor:
        """(N, C, h, w) -> (N, K, *size_hw), or (N, K, h, w) where `size_hw` is None."""
        heatmaps: Tensor = self.heatmaps(self.hidden(x))
        if size_hw is not None:
            heatmaps = resize(heatmaps, size_hw, align_corners=self.align_corners)
        out: Tensor = self.norm(heatmaps)
        return out


class GlobalNet(nn.Module):
    """A heatmap predictor per pyramid level.

    Args:
        strides: input pixels per cell of each pyramid level; its keys are the levels.
        channels: of every pyramid level.
        num_keypoints: K.
        supervision: "upsampled": every level's heatmaps come at `heatmap_stride`, as CPN trains;
            "native": each at its own level's stride.
        heatmap_stride: input pixels per heatmap cell for "upsampled".
        output_norm: BatchNorm over the K heatmaps (pytorch-cpn).
        norm: in the hidden layer.
        align_corners: of the bilinear upsampling.

    Attributes:
        levels: coarse to fine, the order of the outputs.
        heatmap_strides: input pixels per heatmap cell, by level name, in that order.

    Raises:
        ValueError: no levels, or a number or name that is not allowed.
    """

    def __init__(
        self,
        strides: Mapping[int, int],
        channels: int,
        num_keypoints: int,
        *,
        supervision: Supervision = "upsampled",
        heatmap_stride: int = 4,
        output_norm: bool = True,
        norm: Norm = "batch",
        align_corners: bool = True,
    ) -> None:
        super().__init__()
        if not strides:
            raise ValueError("GlobalNet needs at least one pyramid level")
        if supervision not in get_args(Supervision):
            raise ValueError(f"supervision must be 'upsampled' or 'native', got {supervision!r}")
        check_head(channels, num_keypoints, heatmap_stride)
        self.levels = tuple(sorted(strides, reverse=True))
        self.strides = dict(strides)
        self.channels = channels
        self.num_keypoints = num_keypoints
        self.supervision = supervision
        self.heatmap_stride = heatmap_stride
        native = supervision == "native"
        self.heatmap_strides = {
            level_name(level): strides[level] if native else heatmap_stride for level in self.levels
        }
        self.predictors = nn.ModuleDict(
            {
                level_name(level): HeatmapPredictor(
                    channels,
                    num_keypoints,
                    output_norm=output_norm,
                    norm=norm,
                    align_corners=align_corners,
                )
                for level in self.levels
            }
        )
        initialise_weights(self)

    def forward(
        self, features: Mapping[int, Tensor], input_hw: tuple[int, int]
    ) -> tuple[Tensor, ...]:
        """Pyramid levels (N, C, h_l, w_l) -> heatmaps (N, K, h, w) per level, coarse to fine.

        `input_hw` is the size of the network's input in pixels; upsampled heatmaps have the size
        input_hw // heatmap_stride.
        """
        size_hw = None
        if self.supervision == "upsampled":
            size_hw = (input_hw[0] // self.heatmap_stride, input_hw[1] // self.heatmap_stride)
        return tuple(
            self.predictors[level_name(level)](features[level], size_hw) for level in self.levels
        )


def check_head(channels: int, num_keypoints: int, heatmap_stride: int) -> None:
    """Raises ValueError unless these can describe a heatmap head."""
    for name, value in (
        ("channels", channels),
        ("num_keypoints", num_keypoints),
        ("heatmap_stride", heatmap_stride),
    ):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
