"""The Cascaded Pyramid Network (Chen et al., CVPR 2018, arXiv 1711.07319)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from cpn.models.backbone import Backbone
from cpn.models.global_net import GlobalNet
from cpn.models.layers import Order, level_name
from cpn.models.pyramid import FeaturePyramid
from cpn.models.refine_net import RefineNet


class CpnOutput(NamedTuple):
    """Heatmaps of one forward pass.

    Attributes:
        global_heatmaps: GlobalNet's (N, K, h, w), coarse to fine.
        refined_heatmaps: RefineNet's (N, K, h, w); None where there is no RefineNet.
    """

    global_heatmaps: tuple[Tensor, ...]
    refined_heatmaps: Tensor | None

    @property
    def final(self) -> Tensor:
        """The heatmaps to decode: RefineNet's, or GlobalNet's finest."""
        if self.refined_heatmaps is None:
            return self.global_heatmaps[-1]
        return self.refined_heatmaps


class CascadedPyramidNetwork(nn.Module):
    """Backbone, pyramid, GlobalNet and, unless it is switched off, RefineNet.

    Args:
        backbone: gives C2..C5 and the pixel statistics it was trained with.
        pyramid: built on that backbone's channels and strides.
        global_net: predicts on every level of that pyramid.
        refine_net: fed by some or all of its levels; None: GlobalNet only.

    Attributes:
        level_names: GlobalNet's levels, coarse to fine, e.g. ("p5", "p4", "p3", "p2").
        heatmap_strides: input pixels per cell of each of GlobalNet's heatmaps, by level name.
        heatmap_stride: input pixels per cell of `CpnOutput.final`.
        num_keypoints: K.

    Raises:
        ValueError: the parts do not fit each other.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        pyramid: FeaturePyramid,
        global_net: GlobalNet,
        refine_net: RefineNet | None = None,
    ) -> None:
        super().__init__()
        _check_fit(pyramid, global_net, refine_net)
        self.backbone = backbone
        self.pyramid = pyramid
        self.global_net = global_net
        self.refine_net = refine_net
        self.level_names = tuple(level_name(level) for level in global_net.levels)
        self.heatmap_strides = dict(global_net.heatmap_strides)
        self.heatmap_stride = (
            self.heatmap_strides[self.level_names[-1]]
            if refine_net is None
            else refine_net.heatmap_stride
        )
        self.num_keypoints = global_net.num_keypoints
        self.register_buffer("pixel_mean", torch.tensor(backbone.mean).reshape(1, 3, 1, 1))
        self.register_buffer("pixel_std", torch.tensor(backbone.std).reshape(1, 3, 1, 1))

    @property
    def keypoint_keys(self) -> frozenset[str]:
        """Names in the state dict of what has a row for each of the K keypoints."""
        heads = [f"global_net.predictors.{name}" for name in self.level_names]
        parts = [
            f"{head}.{part}"
            for head in [*heads, *(["refine_net"] if self.refine_net is not None else [])]
            for part in ("heatmaps", "norm")
        ]
        return frozenset(
            f"{part}.{name}"
            for part in parts
            for name, value in self.get_submodule(part).state_dict().items()
            if value.ndim
        )

    def initialise_output_scale(self, scale: float) -> None:
        """Lets the heatmaps start with standard deviation `scale`, where a norm follows them.

        A norm that starts at 1 under targets of peak 1 makes heatmaps ten times too strong, which
        Adam can only take back by its learning rate per step: hundreds of steps of noise.
        """
        heads: list[nn.Module] = [*self.global_net.predictors.values()]
        for head in [*heads, *([self.refine_net] if self.refine_net is not None else [])]:
            if isinstance(head.norm, nn.BatchNorm2d):
                nn.init.constant_(head.norm.weight, scale)

    def set_order(self, order: Order) -> None:
        """Chooses where 1x1 convolutions run that meet an upsampling; no result changes.

        "coarse_first", the default, before it, where there are fewer cells; "published" after it,
        as the paper draws the network and as its operations are counted.
        """
        self.pyramid.order = order
        if self.refine_net is not None:
            self.refine_net.order = order

    def preprocess(self, crops: Tensor) -> Tensor:
        """RGB crops (N, 3, H, W), uint8 0..255 -> the network's input, float32.

        The memory layout is kept, so channels-last crops stay channels-last.

        Raises:
            ValueError: the crops are not uint8 or have not four dimensions with 3 channels.
        """
        if crops.dtype != torch.uint8 or crops.ndim != 4 or crops.shape[1] != 3:
            raise ValueError(
                "preprocess takes uint8 crops (N, 3, H, W) in 0..255, "
                f"got {crops.dtype} {tuple(crops.shape)}"
            )
        return (crops.float() - self.pixel_mean * 255) / (self.pixel_std * 255)

    def forward(self, images: Tensor) -> CpnOutput:
        """Normalised images (N, 3, H, W) -> heatmaps.

        Raises:
            ValueError: H or W is not a multiple of the heatmap stride.
        """
        input_hw = (images.shape[-2], images.shape[-1])
        stride = self.heatmap_stride
        if input_hw[0] % stride or input_hw[1] % stride:
            raise ValueError(
                f"input height and width must be multiples of the heatmap stride {stride}, "
                f"got {input_hw[0]}x{input_hw[1]}"
            )
        features = self.pyramid(self.backbone(images))
        global_heatmaps: tuple[Tensor, ...] = self.global_net(features, input_hw)
        if self.refine_net is None:
            return CpnOutput(global_heatmaps, None)
        return CpnOutput(global_heatmaps, self.refine_net(features, input_hw))


def _check_fit(
    pyramid: FeaturePyramid, global_net: GlobalNet, refine_net: RefineNet | None
) -> None:
    if global_net.strides != pyramid.strides:
        raise ValueError(
            f"GlobalNet was built for strides {global_net.strides}, "
            f"the pyramid has {pyramid.strides}"
        )
    heads: list[GlobalNet | RefineNet] = [global_net]
    if refine_net is not None:
        heads.append(refine_net)
        if missing := sorted(set(refine_net.levels) - set(pyramid.levels)):
            raise ValueError(
                f"RefineNet is fed by levels {missing}, which the pyramid does not make; "
                f"allowed: {list(pyramid.levels)}"
            )
        if refine_net.num_keypoints != global_net.num_keypoints:
            raise ValueError(
                f"GlobalNet predicts {global_net.num_keypoints} keypoints, "
                f"RefineNet {refine_net.num_keypoints}"
            )
    for head in heads:
        if head.channels != pyramid.channels:
            raise ValueError(
                f"{type(head).__name__} takes {head.channels} channels, "
                f"the pyramid gives {pyramid.channels}"
            )
