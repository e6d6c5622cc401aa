"""The feature pyramid: laterals, top-down path and sum (Lin et al. 2017, CPN section 3.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn import functional

from cpn.models.layers import (
    ConvNorm,
    Interpolation,
    Norm,
    Order,
    convolve_resized,
    initialise_weights,
    level_name,
    resize,
)

Extra = Literal["none", "conv", "max_pool"]
ExtraFrom = Literal["backbone", "pyramid"]


@dataclass(frozen=True)
class PyramidDesign:
    """How a pyramid is built; the defaults are pytorch-cpn's.

    FPN (Lin et al. 2017) is `PyramidDesign(upsample="nearest", top_down_conv=False,
    smoothing=True, lateral_activation=False, norm="none")`.

    Attributes:
        upsample: interpolation on the way down.
        align_corners: of bilinear interpolation.
        top_down: coarser levels come down and are added; without, each level is its lateral (FPN,
            table 1 (d)), and upsample, align_corners and top_down_conv have no effect.
        top_down_conv: 1x1 convolution (and norm) after the upsampling, before the sum (CPN).
        smoothing: 3x3 convolution (and norm) on every level after the sum (FPN).
        lateral_activation: ReLU after the lateral 1x1 (CPN).
        norm: after every convolution of the pyramid.
    """

    upsample: Interpolation = "bilinear"
    align_corners: bool = True
    top_down: bool = True
    top_down_conv: bool = True
    smoothing: bool = False
    lateral_activation: bool = True
    norm: Norm = "batch"

    def __post_init__(self) -> None:
        if self.upsample not in get_args(Interpolation):
            raise ValueError(f"upsample must be 'bilinear' or 'nearest', got {self.upsample!r}")


class FeaturePyramid(nn.Module):
    """Turns backbone levels into levels of equal width, each with the context of the coarser ones.

    A level may be skipped: what comes down is resized to the size of the next level that is used.

    Args:
        in_channels: channels of each backbone level, e.g. {2: 256, 3: 512, 4: 1024, 5: 2048}.
        in_strides: input pixels per cell of each backbone level, e.g. {2: 4, 3: 8, 4: 16, 5: 32}.
        levels: backbone levels to use, ascending.
        channels: channels of every pyramid level.
        design: interpolation, convolutions and norm.
        extra: how coarser levels are added: "conv" puts 3x3 stride 2 convolutions on the coarsest
            level, a ReLU between them (RetinaNet); "max_pool" keeps every second cell of the
            coarsest pyramid level (Mask R-CNN).
        num_extra: how many of them.
        extra_from: whose coarsest level "conv" starts at: the backbone's C5 (Lin et al. 2017, Focal
            Loss, section 4), or the pyramid's P5, as torchvision's first RetinaNet does. "max_pool"
            is always from the pyramid.

    Attributes:
        levels: ascending, with the extra ones.
        channels: of every level.
        strides: input pixels per cell, by level.
        order: "coarse_first" runs the top-down 1x1 before the upsampling, "published" after it;
            the results are the same.

    Raises:
        ValueError: levels that do not ascend or that the backbone does not give, channels or
            strides that cannot be, or `extra` and `num_extra` that contradict each other.
    """

    def __init__(
        self,
        in_channels: Mapping[int, int],
        in_strides: Mapping[int, int],
        *,
        levels: Sequence[int] = (2, 3, 4, 5),
        channels: int = 256,
        design: PyramidDesign | None = None,
        extra: Extra = "none",
        num_extra: int = 0,
        extra_from: ExtraFrom = "backbone",
    ) -> None:
        super().__init__()
        self.design = design or PyramidDesign()
        self.order: Order = "coarse_first"
        self.lateral_levels = _checked_levels(levels, in_channels, in_strides)
        _check_extra(extra, num_extra, extra_from)
        if channels < 1:
            raise ValueError(f"pyramid channels must be at least 1, got {channels}")
        top = self.lateral_levels[-1]
        self.channels = channels
        self.extra = extra
        self.extra_from = extra_from
        self.extra_levels = tuple(range(top + 1, top + 1 + num_extra))
        self.levels = (*self.lateral_levels, *self.extra_levels)
        self.strides = {level: in_strides[level] for level in self.lateral_levels}
        self.strides |= {level: in_strides[top] * 2 ** (level - top) for level in self.extra_levels}
        self._build(in_channels)
        initialise_weights(self)

    def _build(self, in_channels: Mapping[int, int]) -> None:
        channels, design = self.channels, self.design
        self.laterals = nn.ModuleDict(
            {
                level_name(level): ConvNorm(
                    in_channels[level],
                    channels,
                    norm=design.norm,
                    activation=design.lateral_activation,
                )
                for level in self.lateral_levels
            }
        )
        converted = design.top_down and design.top_down_conv
        receiving = self.lateral_levels[:-1] if converted else ()
        self.top_down = self._convolutions(receiving, kernel=1)
        self.smoothing = self._convolutions(
            self.lateral_levels if design.smoothing else (), kernel=3
        )
        self.extra_convs = nn.ModuleDict()
        if self.extra == "conv":
            top = in_channels[self.lateral_levels[-1]]
            widths = (top if self.extra_from == "backbone" else channels, channels)
            for level, width in zip(self.extra_levels, widths, strict=False):
                conv = nn.Conv2d(width, channels, 3, stride=2, padding=1)
                self.extra_convs[level_name(level)] = conv

    def _convolutions(self, levels: Sequence[int], *, kernel: int) -> nn.ModuleDict:
        def conv() -> ConvNorm:
            return ConvNorm(
                self.channels,
                self.channels,
                kernel=kernel,
                norm=self.design.norm,
                activation=False,
            )

        return nn.ModuleDict({level_name(level): conv() for level in levels})

    def forward(self, features: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Backbone levels (N, C_l, h_l, w_l) -> pyramid levels (N, channels, h_l, w_l), ascending.

        Extra levels have half the size of the level before, rounded up.
        """
        merged: dict[int, Tensor] = {}
        above: Tensor | None = None
        for level in reversed(self.lateral_levels):
            lateral: Tensor = self.laterals[level_name(level)](features[level])
            merged[level] = (
                lateral if above is None else lateral + self._bring_down(above, level, lateral)
            )
            above = merged[level] if self.design.top_down else None
        for name, smooth in self.smoothing.items():
            level = int(name[1:])
            merged[level] = smooth(merged[level])
        self._add_extra(merged, features[self.lateral_levels[-1]])
        return {level: merged[level] for level in self.levels}

    def _bring_down(self, above: Tensor, level: int, lateral: Tensor) -> Tensor:
        size_hw = (lateral.shape[-2], lateral.shape[-1])
        mode, corners = self.design.upsample, self.design.align_corners
        if not self.design.top_down_conv:
            return resize(above, size_hw, mode=mode, align_corners=corners)
        layer = self.top_down[level_name(level)]
        assert isinstance(layer, ConvNorm)
        if self.order == "published":
            out: Tensor = layer(resize(above, size_hw, mode=mode, align_corners=corners))
            return out
        return layer.finish(
            convolve_resized(layer.conv, [above], size_hw, mode=mode, align_corners=corners)
        )

    def _add_extra(self, merged: dict[int, Tensor], coarsest_feature: Tensor) -> None:
        from_backbone = self.extra_from == "backbone"
        x = coarsest_feature if from_backbone else merged[self.lateral_levels[-1]]
        for level in self.extra_levels:
            if self.extra == "max_pool":
                x = functional.max_pool2d(merged[level - 1], kernel_size=1, stride=2)
            else:
                first = level == self.extra_levels[0]
                x = self.extra_convs[level_name(level)](x if first else functional.relu(x))
            merged[level] = x


def _checked_levels(
    levels: Sequence[int], in_channels: Mapping[int, int], in_strides: Mapping[int, int]
) -> tuple[int, ...]:
    given = list(levels)
    if not given or given != sorted(set(given)):
        raise ValueError(
            f"pyramid levels must be a non-empty ascending list without repeats, got {given}"
        )
    if missing := [level for level in given if level not in in_channels]:
        raise ValueError(
            f"pyramid levels {missing} are not among the backbone's {sorted(in_channels)}"
        )
    if sorted(in_channels) != sorted(in_strides):
        raise ValueError(
            f"in_channels has levels {sorted(in_channels)}, in_strides has {sorted(in_strides)}"
        )
    wrong = [level for level in given if in_channels[level] < 1 or in_strides[level] < 1]
    if wrong:
        raise ValueError(f"channels and strides must be positive; they are not at levels {wrong}")
    strides = [in_strides[level] for level in given]
    if any(coarse <= fine for fine, coarse in pairwise(strides)):
        raise ValueError(f"strides must grow from level to level, got {strides} for {given}")
    return tuple(given)


def _check_extra(extra: str, num_extra: int, extra_from: str) -> None:
    if extra not in get_args(Extra):
        raise ValueError(f"extra must be 'none', 'conv' or 'max_pool', got {extra!r}")
    if extra_from not in get_args(ExtraFrom):
        raise ValueError(f"extra_from must be 'backbone' or 'pyramid', got {extra_from!r}")
    allowed = (0,) if extra == "none" else (1, 2)
    if num_extra not in allowed:
        raise ValueError(
            f"extra={extra!r} goes with num_extra in {list(allowed)}, got num_extra={num_extra}"
        )
