"""Building blocks that the pyramid, GlobalNet and RefineNet share.

Legend: N images, C channels, h x w cells of a feature map.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Norm = Literal["batch", "group", "none"]
Interpolation = Literal["bilinear", "nearest"]
Projection = Literal["always", "when_needed"]
Order = Literal["coarse_first", "published"]
"""Whether 1x1 convolutions run before the upsampling that the paper puts before them."""

PREDICTION_STD = 0.001
"""Initial weights of a heatmap convolution that no norm follows."""


def level_name(level: int) -> str:
    """Pyramid level 2 -> "p2"."""
    return f"p{level}"


def make_norm(norm: Norm, channels: int) -> nn.Module:
    """The normalisation layer for `channels` channels; "group" has 32 groups where they fit.

    Raises:
        ValueError: `norm` is not "batch", "group" or "none".
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "group":
        return nn.GroupNorm(math.gcd(32, channels), channels)
    if norm == "none":
        return nn.Identity()
    raise ValueError(f"norm must be 'batch', 'group' or 'none', got {norm!r}")


class ConvNorm(nn.Module):
    """Convolution ("same" size at stride 1), normalisation and, if asked for, ReLU.

    The convolution has a bias only where no norm follows it.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        norm: Norm = "batch",
        activation: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=kernel // 2,
            bias=norm == "none",
        )
        self.norm = make_norm(norm, out_channels)
        self.activation = nn.ReLU(inplace=True) if activation else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, h, w) -> (N, C_out, h/stride, w/stride)."""
        return self.finish(self.conv(x))

    def finish(self, convolved: Tensor) -> Tensor:
        """What follows the convolution."""
        out: Tensor = self.activation(self.norm(convolved))
        return out


class Bottleneck(nn.Module):
    """1x1 to `width`, 3x3, 1x1 to `out_channels`, added to the shortcut, ReLU (He et al. 2016).

    pytorch-cpn's RefineNet projects every shortcut by a 1x1 ("always"), tf-cpn's only where the
    number of channels changes ("when_needed").
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        out_channels: int,
        *,
        projection: Projection = "always",
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        if projection not in ("always", "when_needed"):
            raise ValueError(f"projection must be 'always' or 'when_needed', got {projection!r}")
        self.reduce = ConvNorm(in_channels, width, norm=norm)
        self.spatial = ConvNorm(width, width, kernel=3, norm=norm)
        self.expand = ConvNorm(width, out_channels, norm=norm, activation=False)
        projected = projection == "always" or in_channels != out_channels
        self.shortcut: nn.Module = (
            ConvNorm(in_channels, out_channels, norm=norm, activation=False)
            if projected
            else nn.Identity()
        )
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, h, w) -> (N, C_out, h, w)."""
        return self._join(self.reduce(x), self.shortcut(x))

    def over_resized(
        self, parts: Sequence[Tensor], size_hw: tuple[int, int], *, align_corners: bool
    ) -> Tensor:
        """The bottleneck of the resized, concatenated parts, without resizing or joining them.

        Args:
            parts: (N, C_i, h_i, w_i), with C_in channels in all.
            size_hw: where they are to meet.
            align_corners: of the bilinear interpolation.

        Returns:
            (N, C_out, *size_hw).
        """

        def convolve(layer: ConvNorm) -> Tensor:
            return layer.finish(
                convolve_resized(layer.conv, parts, size_hw, align_corners=align_corners)
            )

        if isinstance(self.shortcut, ConvNorm):
            return self._join(convolve(self.reduce), convolve(self.shortcut))
        resized = [resize(part, size_hw, align_corners=align_corners) for part in parts]
        out: Tensor = self(torch.cat(resized, dim=1))
        return out

    def _join(self, reduced: Tensor, shortcut: Tensor) -> Tensor:
        out: Tensor = self.activation(self.expand(self.spatial(reduced)) + shortcut)
        return out


class HeatmapConv(nn.Conv2d):
    """The 3x3 convolution that gives K heatmaps; it has a bias where no output norm follows."""

    def __init__(self, in_channels: int, num_keypoints: int, *, normalised: bool) -> None:
        super().__init__(in_channels, num_keypoints, 3, padding=1, bias=not normalised)


def output_normalisation(enabled: bool, num_keypoints: int) -> nn.Module:
    """BatchNorm over the K heatmaps themselves, as pytorch-cpn has it, or nothing."""
    return nn.BatchNorm2d(num_keypoints) if enabled else nn.Identity()


def resize(
    x: Tensor,
    size_hw: tuple[int, int],
    *,
    mode: Interpolation = "bilinear",
    align_corners: bool = True,
) -> Tensor:
    """(N, C, h, w) -> (N, C, *size_hw); unchanged where the size is already right."""
    if tuple(x.shape[-2:]) == size_hw:
        return x
    corners = align_corners if mode == "bilinear" else None
    return functional.interpolate(x, size=size_hw, mode=mode, align_corners=corners)


def convolve_resized(
    conv: nn.Conv2d,
    parts: Sequence[Tensor],
    size_hw: tuple[int, int],
    *,
    mode: Interpolation = "bilinear",
    align_corners: bool = True,
) -> Tensor:
    """`conv` of the resized, concatenated parts, computed at each part's own size.

    A 1x1 convolution mixes channels and interpolation mixes cells, so they commute (the weights of
    an interpolation sum to 1, so even a constant does); over a concatenation the convolution is the
    sum of those over its parts. The same function, but the products are taken where there are
    fewer cells.

    Args:
        conv: 1x1, stride 1.
        parts: (N, C_i, h_i, w_i), with as many channels in all as `conv` takes.
        size_hw: of the result.
        mode: of the interpolation.
        align_corners: of bilinear interpolation.

    Returns:
        (N, C_out, *size_hw).
    """
    weights = torch.split(conv.weight, [part.shape[1] for part in parts], dim=1)
    total: Tensor | None = None
    for part, weight in zip(parts, weights, strict=True):
        if part.shape[-2] * part.shape[-1] > size_hw[0] * size_hw[1]:  # rare: it is to shrink
            part = resize(part, size_hw, mode=mode, align_corners=align_corners)  # noqa: PLW2901
        mixed = functional.conv2d(part, weight, conv.bias if total is None else None)
        mixed = resize(mixed, size_hw, mode=mode, align_corners=align_corners)
        total = mixed if total is None else total + mixed
    assert total is not None, "there is at least one part"
    return total


def initialise_weights(module: nn.Module) -> None:
    """He-normal convolutions (fan out, ReLU), norms at identity, biases at zero.

    A `HeatmapConv` that no norm follows starts at a normal of standard deviation 0.001: its
    first heatmaps are then near zero, where nearly every target cell is.
    Source: He et al. 2015 (arXiv 1502.01852), as torchvision initialises its ResNets.
    """
    for layer in module.modules():
        if isinstance(layer, HeatmapConv) and layer.bias is not None:
            nn.init.normal_(layer.weight, std=PREDICTION_STD)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
