"""Weights of the public PyTorch CPN of 2018 ("pytorch-cpn") under our names.

Its project keeps a flat list of modules per level, coarse to fine. Its input is RGB in 0..1 minus
a mean, without division by a standard deviation. (Files published before September 2018 were
trained without the mean, by a mistake that its issue 10 tells of.)
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from cpn.errors import UserError
from cpn.models.weights import read_weights

PIXEL_MEAN = (122.7717 / 255, 115.9465 / 255, 102.9801 / 255)
PIXEL_STD = (1.0, 1.0, 1.0)

# Blocks in ResNet's third stage tell the depths apart.
DEPTHS = {6: "resnet50", 23: "resnet101", 36: "resnet152"}

_BOTTLENECK = {
    "conv1": "reduce.conv",
    "bn1": "reduce.norm",
    "conv2": "spatial.conv",
    "bn2": "spatial.norm",
    "conv3": "expand.conv",
    "bn3": "expand.norm",
    "downsample.0": "shortcut.conv",
    "downsample.1": "shortcut.norm",
}
_PREDICTOR = {"0": "hidden.conv", "1": "hidden.norm", "3": "heatmaps", "5": "norm"}
_LEAF = r"(?P<leaf>weight|bias|running_mean|running_var|num_batches_tracked)"
_BLOCK = rf"(?P<layer>{'|'.join(map(re.escape, _BOTTLENECK))})\.{_LEAF}"


def _level(index: str, *, finer: int = 0) -> str:
    return f"p{5 - int(index) - finer}"


def _conv_or_norm(index: str, *, first: int = 0) -> str:
    return "conv" if int(index) == first else "norm"


# Their index 0 is level 5; only the places where a layer has weights are listed.
_RULES: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"resnet\.(.+)", lambda m: f"backbone.body.{m[1]}"),
    (
        rf"global_net\.laterals\.([0-3])\.([01])\.{_LEAF}",
        lambda m: f"pyramid.laterals.{_level(m[1])}.{_conv_or_norm(m[2])}.{m['leaf']}",
    ),
    (
        rf"global_net\.upsamples\.([0-2])\.([12])\.{_LEAF}",
        lambda m: (
            f"pyramid.top_down.{_level(m[1], finer=1)}.{_conv_or_norm(m[2], first=1)}.{m['leaf']}"
        ),
    ),
    (
        rf"global_net\.predict\.([0-3])\.([0135])\.{_LEAF}",
        lambda m: f"global_net.predictors.{_level(m[1])}.{_PREDICTOR[m[2]]}.{m['leaf']}",
    ),
    (
        rf"refine_net\.cascade\.([0-3])\.(\d+)\.{_BLOCK}",
        lambda m: f"refine_net.cascade.{_level(m[1])}.{m[2]}.{_BOTTLENECK[m['layer']]}.{m['leaf']}",
    ),
    (
        rf"refine_net\.final_predict\.0\.{_BLOCK}",
        lambda m: f"refine_net.fuse.{_BOTTLENECK[m['layer']]}.{m['leaf']}",
    ),
    (
        rf"refine_net\.final_predict\.([12])\.{_LEAF}",
        lambda m: f"refine_net.{'heatmaps' if m[1] == '1' else 'norm'}.{m['leaf']}",
    ),
)


class PytorchCpnWeights(NamedTuple):
    """A converted checkpoint.

    Attributes:
        state_dict: for `CascadedPyramidNetwork` with its classes' default arguments, with the
            mean and standard deviation of its input.
        backbone: "resnet50", "resnet101" or "resnet152".
        num_keypoints: K.
    """

    state_dict: dict[str, Tensor]
    backbone: str
    num_keypoints: int


def read_pytorch_cpn(path: Path) -> dict[str, Tensor]:
    """The state dict of a published `.pth.tar`; epoch and optimizer state beside it are ignored.

    Raises:
        FileNotFoundError, UserError: see `read_weights`.
    """
    return read_weights(path)


def convert_pytorch_cpn(state: Mapping[str, Tensor]) -> PytorchCpnWeights:
    """Renames a pytorch-cpn state dict; every key is used, `resnet.fc.*` excepted.

    Counters of seen batches, which checkpoints of 2018 may lack, become zero.

    Args:
        state: keys as `resnet.*`, `global_net.*`, `refine_net.*`, perhaps behind `module.`.

    Raises:
        UserError: a key that pytorch-cpn does not have, or no CPN at all.
    """
    names = {
        key: key.removeprefix("module.")
        for key in state
        if not key.removeprefix("module.").startswith("resnet.fc.")
    }
    ours = {key: _our_name(name) for key, name in names.items()}
    if unknown := [names[key] for key, name in ours.items() if name is None]:
        raise UserError(
            f"not a pytorch-cpn checkpoint: {len(unknown)} unknown keys, e.g. {unknown[:3]}; "
            "expected resnet.*, global_net.{laterals,upsamples,predict}.*, refine_net.*"
        )
    converted = {name: state[key] for key, name in ours.items() if name is not None}
    backbone, num_keypoints = _detect(converted)
    for name in [name for name in converted if name.endswith("running_mean")]:
        counter = name.replace("running_mean", "num_batches_tracked")
        converted.setdefault(counter, torch.zeros((), dtype=torch.int64))
    converted["pixel_mean"] = torch.tensor(PIXEL_MEAN).reshape(1, 3, 1, 1)
    converted["pixel_std"] = torch.tensor(PIXEL_STD).reshape(1, 3, 1, 1)
    return PytorchCpnWeights(converted, backbone, num_keypoints)


def _our_name(name: str) -> str | None:
    """Our key for one of theirs; None where there is none."""
    for pattern, rename in _RULES:
        if match := re.fullmatch(pattern, name):
            return rename(match)
    return None


def _detect(converted: Mapping[str, Tensor]) -> tuple[str, int]:
    blocks = {key.split(".")[3] for key in converted if key.startswith("backbone.body.layer3.")}
    heatmaps = converted.get("refine_net.heatmaps.weight")
    if len(blocks) not in DEPTHS or heatmaps is None:
        raise UserError(
            f"not a pytorch-cpn checkpoint: {len(blocks)} blocks in resnet.layer3 (known: "
            f"{sorted(DEPTHS)}) and {'no' if heatmaps is None else 'a'} refine_net prediction"
        )
    return DEPTHS[len(blocks)], heatmaps.shape[0]
