"""BatchNorm layers folded into the convolutions before them, for networks that are only used.

In evaluation a BatchNorm multiplies and adds constants per channel, which a convolution can do
with its own weights: one pass over the feature map less for each.
"""

import copy
import logging
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from cpn.models.cpn import CascadedPyramidNetwork
from cpn.models.global_net import HeatmapPredictor
from cpn.models.layers import ConvNorm
from cpn.models.refine_net import RefineNet

logger = logging.getLogger(__name__)

TOLERANCE = 1e-3


def folded(model: CascadedPyramidNetwork, input_hw: tuple[int, int]) -> CascadedPyramidNetwork:
    """A copy in evaluation mode that computes the same with fewer operations.

    It is compared with the original on noise; should a backbone use its layers in a way that
    folding does not know, the copy stays as it is and a warning says so.

    Args:
        model: is not changed.
        input_hw: size of its input; some backbones take no other.
    """
    reference = copy.deepcopy(model).eval()
    images = _noise(reference, input_hw)
    expected, pairs = _trial_run(reference, images)
    lean = copy.deepcopy(reference)
    for module in list(lean.modules()):
        # Also where a resizing comes between: its weights sum to 1, so constants pass unchanged.
        if isinstance(module, ConvNorm):
            _fold(module, "conv", module, "norm")
        elif isinstance(module, HeatmapPredictor | RefineNet):
            _fold(module, "heatmaps", module, "norm")
    for conv, norm in pairs:
        _fold(*_place(lean.backbone, conv), *_place(lean.backbone, norm))
    with torch.no_grad():
        error = (lean(images).final - expected).abs().max()
    difference = float(error / expected.abs().max().clamp_min(1e-12))
    if difference > TOLERANCE:
        logger.warning(
            "BatchNorm cannot be folded into this backbone (heatmaps would change by %.2g of their "
            "largest value): prediction is slower than it could be",
            difference,
        )
        return reference
    return lean


def _fold(conv_parent: nn.Module, conv_name: str, norm_parent: nn.Module, norm_name: str) -> None:
    conv = conv_parent.get_submodule(conv_name)
    norm = norm_parent.get_submodule(norm_name)
    if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
        return
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, bias = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    conv.weight, conv.bias = weight, bias
    # timm's BatchNorms carry their activation as a child; frozen stages know it by its name.
    setattr(norm_parent, norm_name, nn.Sequential(OrderedDict(norm.named_children())))


def _trial_run(
    model: CascadedPyramidNetwork, images: Tensor
) -> tuple[Tensor, list[tuple[str, str]]]:
    """The heatmaps; names of the backbone's convolutions and of the BatchNorms they lead to."""
    made: dict[int, str] = {}
    kept: list[Tensor] = []  # while they live, no other tensor has their id
    pairs: list[tuple[str, str]] = []
    handles = []
    for name, module in model.backbone.named_modules():
        if isinstance(module, nn.Conv2d):

            def note(_: nn.Module, __: object, out: Tensor, name: str = name) -> None:
                kept.append(out)
                made[id(out)] = name

            handles.append(module.register_forward_hook(note))
        elif isinstance(module, nn.BatchNorm2d):

            def match(_: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                if id(inputs[0]) in made:
                    pairs.append((made[id(inputs[0])], name))

            handles.append(module.register_forward_pre_hook(match))
    with torch.no_grad():
        heatmaps: Tensor = model(images).final
    for handle in handles:
        handle.remove()
    return heatmaps, pairs


def _place(root: nn.Module, path: str) -> tuple[nn.Module, str]:
    parent, _, name = path.rpartition(".")
    return root.get_submodule(parent), name


def _noise(module: nn.Module, input_hw: tuple[int, int]) -> Tensor:
    device = next(module.parameters()).device
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, 3, *input_hw, generator=generator).to(device)
