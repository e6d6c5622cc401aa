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
from cpn.models.feature_body import ALL_LEVELS, IMAGENET_MEAN, IMAGENET_STD, FeatureBody
from cpn.models.weights import is_batch_counter, read_weights
from cpn.state_dict import load_weights

logger = logging.getLogger(__name__)

TIMM_PREFIX = "timm:"


def create_timm_body(name: str, *, weights: str, levels: Sequence[int]) -> FeatureBody:
    """A timm network, with channels, strides, mean and std as timm declares them.

    Args:
        name: of a timm model that supports `features_only` and has the strides of `levels`.
        weights: "none", "imagenet" (timm's pretrained weights for that name) or a file, with
            timm's key names or those of the efficientnet_pytorch packages.
        levels: which of C2..C5 to give, ascending.

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
    _check_layout(extractor, name)
    declared = _declared_levels(extractor.feature_info.get_dicts())
    if missing := [level for level in levels if level not in declared]:
        raise UserError(
            f"timm:{name} gives levels {sorted(declared)} (stride 2^level), not {missing}: "
            "choose pyramid.levels among those"
        )
    body = timm.create_model(
        name,
        features_only=True,
        out_indices=tuple(declared[level]["index"] for level in levels),
    )
    _drop_later_blocks(body, declared[levels[-1]]["module"])
    if weights != "none":
        _load(timm, body, name, weights)
    mean, std = _pixel_statistics(timm, name)
    logger.info("timm:%s: weights %s, input mean %s, std %s", name, weights, mean, std)
    return FeatureBody(
        body,
        {level: declared[level]["num_chs"] for level in levels},
        {level: declared[level]["reduction"] for level in levels},
        _stage_ends(body, declared, levels[-1]),
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


def _check_layout(extractor: nn.Module, name: str) -> None:
    layout = getattr(extractor, "output_fmt", "NCHW")
    if not str(layout).endswith("NCHW"):
        raise UserError(f"timm:{name} gives {layout} feature maps; only NCHW networks can be used")


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
    stems = [child for child, _ in body.named_children() if child.startswith("stem")]
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
    """Renames "stages.0.x" to the extractor's "stages_0.x"; names without counterpart stay."""
    flat = {name.replace(".", "_"): name for name in target}
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
