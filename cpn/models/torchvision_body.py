"""Backbones of torchvision beside the plain ResNets, cut off after the deepest level asked for."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.error import URLError

import torch
import torchvision.models
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, list_models
from torchvision.ops import StochasticDepth

from cpn.errors import UserError
from cpn.models.feature_body import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    FeatureBody,
    channels_first,
)
from cpn.models.weights import is_batch_counter, read_weights
from cpn.weights.state_dict import load_weights

TORCHVISION_PREFIX = "torchvision:"
RESIDUAL = (torchvision.models.ResNet,)  # ResNeXt and Wide-ResNet, too
WITH_HEAD_CONV = (torchvision.models.EfficientNet, torchvision.models.MobileNetV3)
NHWC = (torchvision.models.SwinTransformer,)
FAMILIES = (
    *RESIDUAL,
    *WITH_HEAD_CONV,
    *NHWC,
    torchvision.models.ConvNeXt,
    torchvision.models.RegNet,
)
PROBE_PIXELS = 64


class Stages(nn.Module):
    """A classifier without its head, run part by part.

    Args:
        network: of which only `parts` are kept.
        parts: names of its modules, in the order in which they run.
        outputs: those of them whose result is given, in the same order.
        nhwc: its feature maps have their channels last.
    """

    def __init__(
        self, network: nn.Module, parts: Sequence[str], outputs: Sequence[str], *, nhwc: bool
    ) -> None:
        super().__init__()
        self.network = network
        self.parts = tuple(parts)
        self.outputs = frozenset(outputs)
        self.nhwc = nhwc
        _remove_all_but(network, parts)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> one (N, C_l, H / stride_l, W / stride_l) per output."""
        x, features = images, []
        for part in self.parts:
            x = self.network.get_submodule(part)(x)
            if part in self.outputs:
                features.append(channels_first(x) if self.nhwc else x)
        return features


def create_torchvision_body(
    name: str, *, weights: str, drop_path: float, levels: Sequence[int]
) -> FeatureBody:
    """A torchvision classifier's feature maps; channels and strides are read from what it gives.

    Args:
        name: a ResNet, ResNeXt, Wide-ResNet, ConvNeXt, RegNet, Swin, EfficientNet or MobileNetV3.
        weights: "none", "imagenet" (torchvision's default ones for the name) or a file.
        drop_path: rate of the deepest block (stochastic depth), rising from 0.
        levels: which of C2..C5 to give, ascending.

    Raises:
        UserError: no such network or weights, or they do not fit.
        FileNotFoundError: the weights file does not exist.
    """
    network = _create(name, drop_path)
    nhwc = isinstance(network, NHWC)
    parts = _parts(network)
    seen = _probe(network, parts, nhwc=nhwc)
    # Where a stride comes from several parts, the deepest counts.
    last = {seen[part][1].bit_length() - 1: part for part in parts}
    if missing := [level for level in levels if level not in last]:
        raise UserError(f"torchvision:{name} has no levels {missing}: choose other pyramid.levels")
    parts = parts[: parts.index(last[levels[-1]]) + 1]
    stems_and_last = {1: parts[0], **last}
    known = set(network.state_dict())
    body = Stages(network, parts, [last[level] for level in levels], nhwc=nhwc)
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    if weights != "none":
        source, mean, std = _source(name, weights)
        load_weights(
            network,
            source,
            source=f"{name} of torchvision" if weights == "imagenet" else weights,
            may_lack=is_batch_counter,
            leftover=lambda key: key in known,
        )
    return FeatureBody(
        body,
        {level: seen[last[level]][0] for level in levels},
        {level: seen[last[level]][1] for level in levels},
        {level: f"network.{part}" for level, part in stems_and_last.items() if part in parts},
        mean,
        std,
    )


def _create(name: str, drop_path: float) -> nn.Module:
    names = list_models(module=torchvision.models)
    if name not in names:
        near = ", ".join(difflib.get_close_matches(name, names)) or "none"
        raise UserError(f"torchvision has no classifier {name!r}; nearest: {near}")
    device = torch.empty(0).device
    with torch.device("cpu"):  # RegNet computes its widths by tensors, which "meta" cannot
        network: nn.Module = get_model(name, weights=None).to(device)
    kinds: tuple[type[nn.Module], ...] = FAMILIES
    if not isinstance(network, kinds):
        allowed = "ResNet, ResNeXt, Wide-ResNet, ConvNeXt, RegNet, Swin, EfficientNet, MobileNetV3"
        raise UserError(f"torchvision:{name} cannot be a backbone; families: {allowed}")
    drops = [module for module in network.modules() if isinstance(module, StochasticDepth)]
    if drop_path and not drops:
        raise UserError(f"backbone.drop_path={drop_path:g}: torchvision:{name} has none: 0")
    for index, module in enumerate(drops):
        module.p = drop_path * index / max(len(drops) - 1, 1)
    return network


def _parts(network: nn.Module) -> list[str]:
    if isinstance(network, RESIDUAL):
        stem = ["conv1", "bn1", "relu", "maxpool"]
        return [*stem, *(f"layer{index}" for index in range(1, 5))]
    if isinstance(network, torchvision.models.RegNet):
        blocks = [name for name, _ in network.trunk_output.named_children()]
        return ["stem", *(f"trunk_output.{name}" for name in blocks)]
    children = [
        f"features.{name}" for name, _ in network.get_submodule("features").named_children()
    ]
    # Their last 1x1 convolution widens C5 for the classifier alone.
    return children[:-1] if isinstance(network, WITH_HEAD_CONV) else children


def _probe(network: nn.Module, parts: Sequence[str], *, nhwc: bool) -> dict[str, tuple[int, int]]:
    """Channels and stride after each part, read from the feature maps of an empty picture."""
    was_training, found = network.training, {}
    network.eval()
    with torch.no_grad():
        x = torch.zeros(1, 3, PROBE_PIXELS, PROBE_PIXELS)
        for part in parts:
            x = network.get_submodule(part)(x)
            channels, side = (x.shape[-1], x.shape[1]) if nhwc else (x.shape[1], x.shape[-1])
            found[part] = (channels, PROBE_PIXELS // side)
    network.train(was_training)
    return found


def _remove_all_but(network: nn.Module, parts: Sequence[str]) -> None:
    """Takes away the modules that hold none of `parts` and lie in none of them."""
    needed = {part.split(".")[0] for part in parts}
    for name in [child for child, _ in network.named_children() if child not in needed]:
        delattr(network, name)
    for parent in {part.rpartition(".")[0] for part in parts} - {""}:
        container = network.get_submodule(parent)
        for name in [child for child, _ in container.named_children()]:
            if f"{parent}.{name}" not in parts:
                delattr(container, name)


def _source(
    name: str, weights: str
) -> tuple[Mapping[str, Tensor], tuple[float, float, float], tuple[float, float, float]]:
    if weights != "imagenet":
        return read_weights(Path(weights)), IMAGENET_MEAN, IMAGENET_STD
    entry = get_model_weights(name)["DEFAULT"]
    try:
        state: dict[str, Tensor] = entry.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise UserError(
            f"the ImageNet weights of {name} cannot be downloaded ({error}); set "
            "backbone.weights=/path/to/file.pth to a copy of them, or backbone.weights=none"
        ) from error
    statistics = entry.transforms()
    return state, tuple(statistics.mean), tuple(statistics.std)
