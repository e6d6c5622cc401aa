"""Backbones of the timm library (extra `timm`), through its `features_only` extractors."""

import difflib
import importlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from cpn.errors import UserError, first_line
from cpn.models.efficientnet_keys import is_efficientnet_pytorch, to_timm_keys
from cpn.models.feature_body import (
    ALL_LEVELS,
    IMAGENET_MEAN,
    IMAGENET_STD,
    FeatureBody,
    channels_first,
)
from cpn.models.vit_pyramid import STRIDE as VIT_STRIDE
from cpn.models.vit_pyramid import SimpleFeaturePyramid
from cpn.models.weights import is_batch_counter, read_weights
from cpn.weights.state_dict import load_weights

logger = logging.getLogger(__name__)

TIMM_PREFIX = "timm:"


def create_timm_body(
    name: str, *, weights: str, levels: Sequence[int], drop_path: float = 0.0
) -> FeatureBody:
    """A timm network, with channels, strides, mean and std as timm declares them.

    Args:
        name: of a timm model that supports `features_only` and has the strides of `levels`, or is
            a plain vision transformer of stride 16, see `SimpleFeaturePyramid`.
        weights: "none", "imagenet" (timm's pretrained weights for that name) or a file, with
            timm's key names or those of the efficientnet_pytorch packages.
        levels: which of C2..C5 to give, ascending.
        drop_path: rate of the deepest block (stochastic depth), rising from 0.

    Raises:
        UserError: timm is not installed, has no such model, or the weights cannot be had or used.
        FileNotFoundError: the weights file does not exist.
    """
    timm = _import_timm()
    if not timm.is_model(name):
        near = ", ".join(difflib.get_close_matches(name, timm.list_models())) or "none"
        raise UserError(f"timm has no model {name!r}; nearest: {near}; see timm.list_models()")
    with torch.device("meta"):
        extractor = timm.create_model(name, features_only=True)
    infos = extractor.feature_info.get_dicts()
    options = {"drop_path_rate": drop_path} if drop_path else {}
    if {info["reduction"] for info in infos} == {VIT_STRIDE}:
        return _vit_body(timm, name, infos[-1], weights, levels, options)
    declared = _declared_levels(infos)
    if missing := [level for level in levels if level not in declared]:
        raise UserError(
            f"timm:{name} gives levels {sorted(declared)} (stride 2^level) by its strides "
            f"{sorted({info['reduction'] for info in infos})}, not {missing}: choose "
            "pyramid.levels among those"
        )
    indices = tuple(declared[level]["index"] for level in levels)
    body = _create(timm, name, features_only=True, out_indices=indices, **options)
    _drop_later_blocks(body, declared[levels[-1]]["module"])
    if weights != "none":
        _load(timm, body, name, weights)
    mean, std = _pixel_statistics(timm, name)
    logger.info("timm:%s: weights %s, input mean %s, std %s", name, weights, mean, std)
    ends = _stage_ends(body, declared, levels[-1])
    if str(getattr(body, "output_fmt", "NCHW")).endswith("NHWC"):
        body = _ChannelsFirst(body)
        ends = {level: f"network.{end}" for level, end in ends.items()}
    return FeatureBody(
        body,
        {level: declared[level]["num_chs"] for level in levels},
        {level: declared[level]["reduction"] for level in levels},
        ends,
        mean,
        std,
    )


def _import_timm() -> ModuleType:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise UserError(
            "backbones named timm:... need the package timm: pip install timm"
        ) from error


def _declared_levels(infos: Sequence[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """What timm tells of each level; where a stride comes twice, the deeper one counts."""
    level_of = {2**level: level for level in (1, *ALL_LEVELS)}
    return {level_of[info["reduction"]]: info for info in infos if info["reduction"] in level_of}


def _create(timm: ModuleType, name: str, **options: object) -> nn.Module:
    """A network for inputs of any size, where it has a way to take them."""
    problem: TypeError | None = None
    for flexible in ({"dynamic_img_size": True}, {}):
        try:
            network: nn.Module = timm.create_model(name, **flexible, **options)
        except TypeError as error:
            problem = error
            continue
        if "inception" in name:
            _pad(network)
        return network
    assert problem is not None
    raise UserError(
        f"timm:{name} cannot be built with {options} ({first_line(problem)}); "
        "set backbone.drop_path=0"
    ) from problem


def _pad(body: nn.Module) -> None:
    """Inception's unpadded 3x3 layers would give 28 x 20 cells where the stride says 32 x 24."""
    for module in body.modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d) and module.padding in (0, (0, 0)):
            sides = module.kernel_size
            side = sides if isinstance(sides, int) else sides[0]
            half = int(side) // 2
            module.padding = half if isinstance(module, nn.MaxPool2d) else (half, half)


class _ChannelsFirst(nn.Module):
    """Feature maps (N, H, W, C) of a network as (N, C, H, W)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> one map per level."""
        return [channels_first(features) for features in self.network(images)]


class _LastMap(nn.Module):
    """A vision transformer's last tokens, normalised, as one feature map."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> one map (N, C, H / 16, W / 16)."""
        model: Any = self.model
        found = model.forward_intermediates(
            images, indices=1, norm=True, output_fmt="NCHW", intermediates_only=True
        )
        return list(found)


def _vit_body(
    timm: ModuleType,
    name: str,
    info: Mapping[str, Any],
    weights: str,
    levels: Sequence[int],
    options: Mapping[str, Any],
) -> FeatureBody:
    """A plain vision transformer with a simple feature pyramid, which begins at random."""
    network = _LastMap(_create(timm, name, num_classes=0, global_pool="", **options))
    if weights != "none":
        _load(timm, network, name, weights)
    pyramid = SimpleFeaturePyramid(network, info["num_chs"], levels)
    inner = "network.model"
    depth = len(network.get_submodule("model.blocks"))  # type: ignore[arg-type]
    blocks = [f"{inner}.blocks.{index}" for index in range(depth - 1)]
    blocks.append(f"{inner}.norm")  # and with it the last block
    stem = f"{inner}.patch_embed"
    quarters = {level: blocks[-(-depth * (level - 1) // 4) - 1] for level in ALL_LEVELS}
    return FeatureBody(
        pyramid,
        pyramid.channels,
        {level: 2**level for level in levels},
        {1: stem, **quarters},
        *_pixel_statistics(timm, name),
        layer_ends=(stem, *blocks),
    )


def _drop_later_blocks(body: nn.Module, last: str) -> None:
    """Empties the blocks after `last`: timm's EfficientNets would run them for nothing."""
    parent_name, _, child = last.rpartition(".")
    if not parent_name or "blocks" not in dict(body.named_children()):
        return
    parent = body.get_submodule(parent_name)
    names = [name for name, _ in parent.named_children()]
    for name in names[names.index(child) + 1 :]:
        setattr(parent, name, nn.Identity())


def _stage_ends(
    body: nn.Module, declared: Mapping[int, dict[str, Any]], deepest: int
) -> dict[int, str]:
    modules = {module.replace(".", "_") for module, _ in body.named_modules()}
    ends = {
        level: info["module"]
        for level, info in declared.items()
        if level <= deepest and info["module"].replace(".", "_") in modules
    }
    first = ("stem", "patch_embed")
    stems = [child for child, _ in body.named_children() if child.startswith(first)]
    if 1 not in ends and stems:
        ends[1] = stems[-1]
    return ends


def _pixel_statistics(
    timm: ModuleType, name: str
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    config = timm.get_pretrained_cfg(name)
    if config is None:
        return IMAGENET_MEAN, IMAGENET_STD
    mean, std = (tuple(float(x) for x in values) for values in (config.mean, config.std))
    assert len(mean) == 3
    assert len(std) == 3
    return mean, std


def _load(timm: ModuleType, body: nn.Module, name: str, weights: str) -> None:
    with torch.device("meta"):
        whole = timm.create_model(name)
    if weights == "imagenet":
        source = _download(timm, name)
    else:
        source = read_weights(Path(weights))
        if is_efficientnet_pytorch(source):
            source = to_timm_keys(source, stage_depths=[len(stage) for stage in whole.blocks])
    known = set(whole.state_dict())
    load_weights(
        body,
        _match_names(source, body.state_dict()),
        source=f"timm:{name}" if weights == "imagenet" else weights,
        may_lack=is_batch_counter,
        leftover=lambda key: key in known,
    )


def _match_names(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames "stages.0.x" to the extractor's "stages_0.x", "blocks.0.x" to "model.blocks.0.x"."""
    flat = {name.removeprefix("model.").replace(".", "_"): name for name in target}
    return {flat.get(name.replace(".", "_"), name): tensor for name, tensor in source.items()}


def _download(timm: ModuleType, name: str) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"the ImageNet weights of timm:{name} cannot be had ({first_line(error)}); set "
            "backbone.weights=/path/to/file to a copy of them, or backbone.weights=none"
        ) from error
    return state
