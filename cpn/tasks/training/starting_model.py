"""The network that training begins with: fresh, from ImageNet weights, or from a trained one."""

import logging
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from cpn.build import build_model, load_model_with_metadata
from cpn.config.schema import TrainConfig
from cpn.errors import UserError, one_line
from cpn.models.cpn import CascadedPyramidNetwork
from cpn.models.pytorch_cpn import convert_pytorch_cpn, read_pytorch_cpn
from cpn.models.transfer import Transfer, transfer_weights
from cpn.skeleton import COCO_17, Skeleton
from cpn.weights.state_dict import load_weights

logger = logging.getLogger(__name__)

# TensorFlow's own formats, which are tf-cpn's; nothing but TensorFlow reads them safely.
TENSORFLOW_SUFFIXES = frozenset({".index", ".meta", ".ckpt", ".data-00000-of-00001"})
SHOWN = 5


class _Trained(NamedTuple):
    """A trained network: its weights, keypoints and family of heatmaps."""

    state: dict[str, Tensor]
    keypoint_names: tuple[str, ...]
    family: str


def starting_model(
    config: TrainConfig, skeleton: Skeleton, *, tell: bool = True
) -> CascadedPyramidNetwork:
    """The network of a config, with the weights that `start` and `backbone.weights` name.

    Args:
        config: of the training.
        skeleton: of the people to train on.
        tell: whether to log what was taken; on one rank.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        UserError: weights that cannot be had, read or used.
    """
    keypoints = skeleton.num_keypoints
    if config.start.checkpoint is None:
        return build_model(config, num_keypoints=keypoints)
    path = Path(config.start.checkpoint)
    trained = _read(path)
    model = build_model(config, num_keypoints=keypoints, weights="none")
    rows = _rows(config, skeleton, trained)
    transfer = transfer_weights(model, trained.state, rows)
    _check(transfer, model, path, strict=config.start.strict)
    load_weights(model, transfer.state, source=path)
    if tell:
        _tell(config, skeleton, trained, rows, transfer)
    return model


def _read(path: Path) -> _Trained:
    if path.suffix in TENSORFLOW_SUFFIXES:
        raise UserError(
            f"start.checkpoint={path}: a TensorFlow checkpoint, which is read by TensorFlow alone; "
            "give a model.safetensors of this project or pytorch-cpn's .pth.tar"
        )
    if path.suffix == ".safetensors":
        loaded = load_model_with_metadata(path)
        names = loaded.skeleton.keypoint_names
        return _Trained(loaded.model.state_dict(), names, loaded.config.heatmap.family)
    converted = convert_pytorch_cpn(read_pytorch_cpn(path))
    if converted.num_keypoints != COCO_17.num_keypoints:
        raise UserError(
            f"start.checkpoint={path}: it predicts {converted.num_keypoints} keypoints, whose names"
            " it does not tell; pytorch-cpn's published checkpoints have COCO's 17"
        )
    return _Trained(converted.state_dict, COCO_17.keypoint_names, "blurred_one_hot")


def _rows(config: TrainConfig, skeleton: Skeleton, trained: _Trained) -> dict[int, int]:
    """Which of our keypoints begins as which of theirs; none by other heatmaps than ours."""
    if config.start.keypoints == "none" or trained.family != config.heatmap.family:
        return {}
    theirs = {name: index for index, name in enumerate(trained.keypoint_names)}
    names = enumerate(skeleton.keypoint_names)
    return {index: theirs[name] for index, name in names if name in theirs}


def _check(transfer: Transfer, model: CascadedPyramidNetwork, path: Path, *, strict: bool) -> None:
    """Makes sure that the network begins with what it is asked to begin with."""
    convolutions = (key for key in transfer.taken if transfer.state[key].ndim > 1)
    if not any(key.startswith("backbone.") for key in convolutions):
        raise UserError(
            f"start.checkpoint={path}: not one convolution of its backbone fits this one's; set"
            " backbone and model to what it was trained with"
        )
    anew = [key for key in transfer.anew if key not in model.keypoint_keys]
    if strict and (anew or transfer.unused):
        raise UserError(
            f"start.checkpoint={path}: another network than this one: {len(anew)} tensors would "
            f"begin anew{_some(anew)}, {len(transfer.unused)} would not be used"
            f"{_some(transfer.unused)}; set backbone and model to what it was trained with, or "
            "start.strict=false"
        )


def _some(keys: list[str]) -> str:
    return f" ({', '.join(map(one_line, keys[:SHOWN]))}{', …' * (len(keys) > SHOWN)})" * bool(keys)


def _tell(
    config: TrainConfig,
    skeleton: Skeleton,
    trained: _Trained,
    rows: dict[int, int],
    transfer: Transfer,
) -> None:
    """By part what was taken; key by key what was not."""
    parts = Counter(key.split(".")[0] for key in transfer.state)
    taken = Counter(key.split(".")[0] for key in transfer.taken)
    counts = ", ".join(f"{part} {taken[part]} of {count}" for part, count in parts.items())
    logger.info("start: tensors taken from %s: %s", config.start.checkpoint, counts)
    if config.backbone.weights != "none":
        logger.info("start: backbone.weights=%s are not read", config.backbone.weights)
    if trained.family != config.heatmap.family:
        logger.info(
            "start: heads begin anew: they were trained on heatmap.family=%s", trained.family
        )
    fresh = [name for index, name in enumerate(skeleton.keypoint_names) if index not in rows]
    if fresh:
        logger.info("start: keypoints that begin anew: %s", ", ".join(fresh))
    for key, count in transfer.partly.items():
        logger.info("start: %s: %d of %d keypoints", key, count, len(transfer.state[key]))
    for title, keys in (("begins anew", transfer.anew), ("is not used", transfer.unused)):
        for key in keys:
            logger.info("start: %s %s", one_line(key), title)
