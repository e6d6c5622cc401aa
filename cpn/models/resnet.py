"""ResNets of any depth and width from torchvision's blocks, with torchvision's key names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights
from torchvision.models.resnet import BasicBlock, Bottleneck

from cpn.errors import UserError
from cpn.models.feature_body import FeatureBody
from cpn.models.layers import initialise_weights
from cpn.models.weights import is_batch_counter, read_weights
from cpn.weights.state_dict import load_weights

RESNETS: dict[str, tuple[type[BasicBlock | Bottleneck], tuple[int, int, int, int]]] = {
    "resnet10": (BasicBlock, (1, 1, 1, 1)),
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
    "resnet152": (Bottleneck, (3, 8, 36, 3)),
}
STAGE_ENDS = {1: "bn1", 2: "layer1", 3: "layer2", 4: "layer3", 5: "layer4"}
STEM_CHANNELS = 64
PROBE_PIXELS = 64


class ResNet(nn.Module):
    """Stem and stages of a residual network (He et al. 2016); stage i gives level i + 1.

    Stages deeper than the coarsest level asked for are not built.

    Args:
        block: torchvision's BasicBlock or Bottleneck.
        depths: blocks per stage.
        width: factor on every channel count, rounded to multiples of 8.
        levels: which of C2..C5 forward gives, ascending.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        depths: Sequence[int],
        *,
        width: float = 1.0,
        levels: Sequence[int] = (2, 3, 4, 5),
    ) -> None:
        super().__init__()
        planes = _scaled(STEM_CHANNELS, width)
        self.levels = tuple(levels)
        self.conv1 = nn.Conv2d(3, planes, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = planes
        for index in range(max(levels) - 1):
            planes = _scaled(STEM_CHANNELS * 2**index, width)
            stride = 1 if index == 0 else 2
            stage = _stage(block, channels, planes, depths[index], stride=stride)
            self.add_module(f"layer{index + 1}", stage)
            channels = planes * block.expansion
        initialise_weights(self)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> one (N, C_l, H / 2^l, W / 2^l) per level, ascending."""
        x: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        features = []
        for level in range(2, self.levels[-1] + 1):
            x = self.get_submodule(f"layer{level - 1}")(x)
            if level in self.levels:
                features.append(x)
        return features


def _scaled(channels: int, width: float) -> int:
    return max(8, round(channels * width / 8) * 8)


def _stage(
    block: type[BasicBlock | Bottleneck], in_channels: int, planes: int, depth: int, *, stride: int
) -> nn.Sequential:
    out_channels = planes * block.expansion
    shortcut: nn.Module | None = None
    if stride != 1 or in_channels != out_channels:
        shortcut = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
            nn.BatchNorm2d(out_channels),
        )
    first = block(in_channels, planes, stride, shortcut)
    return nn.Sequential(first, *(block(out_channels, planes) for _ in range(depth - 1)))


def create_resnet(name: str, *, weights: str, width: float, levels: Sequence[int]) -> FeatureBody:
    """A ResNet by name, with channels and strides read from what it gives.

    Args:
        name: a key of `RESNETS`.
        weights: "none", "imagenet" (torchvision's IMAGENET1K_V1) or a file.
        width: factor on the channels; 1 with weights.
        levels: which of C2..C5 to give, ascending.

    Raises:
        UserError: no such network or weights, or they do not fit.
        FileNotFoundError: the weights file does not exist.
    """
    if name not in RESNETS:
        raise UserError(
            f"backbone {name!r} is unknown; allowed: {', '.join(RESNETS)}, "
            "torchvision:<name>, timm:<name>"
        )
    if weights != "none" and width != 1:
        raise UserError(
            f"backbone.weights={weights} needs backbone.width=1, got backbone.width={width}; "
            "use backbone.weights=none for narrow networks"
        )
    block, depths = RESNETS[name]
    resnet = ResNet(block, depths, width=width, levels=levels)
    if weights != "none":
        _load(resnet, name, weights)
    channels, strides = _probe(resnet)
    return FeatureBody(
        resnet, channels, strides, {k: STAGE_ENDS[k] for k in range(1, max(levels) + 1)}
    )


def _load(resnet: ResNet, name: str, weights: str) -> None:
    source = _download(name) if weights == "imagenet" else read_weights(Path(weights))
    unused = ("fc.", *(f"layer{level - 1}." for level in range(resnet.levels[-1] + 1, 6)))
    load_weights(
        resnet,
        source,
        source=f"{name} of torchvision" if weights == "imagenet" else weights,
        may_lack=is_batch_counter,
        leftover=lambda key: key.startswith(unused),
    )


def _download(name: str) -> dict[str, Any]:
    if name == "resnet10":
        raise UserError(
            "backbone resnet10 has no ImageNet weights; use backbone.weights=none or a file, "
            "or backbone.name=resnet18"
        )
    try:
        entry = get_model_weights(name)["IMAGENET1K_V1"]
        state: dict[str, Any] = entry.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise UserError(
            f"the ImageNet weights of {name} cannot be downloaded ({error}); set "
            "backbone.weights=/path/to/file.pth to a copy of them, or backbone.weights=none"
        ) from error
    return state


def _probe(resnet: ResNet) -> tuple[dict[int, int], dict[int, int]]:
    """Channels and strides, read from the feature maps of an empty picture."""
    was_training = resnet.training
    with torch.no_grad():
        features = resnet.eval()(torch.zeros(1, 3, PROBE_PIXELS, PROBE_PIXELS))
    resnet.train(was_training)
    channels = {
        level: feature.shape[1] for level, feature in zip(resnet.levels, features, strict=True)
    }
    strides = {
        level: PROBE_PIXELS // feature.shape[-1]
        for level, feature in zip(resnet.levels, features, strict=True)
    }
    return channels, strides
