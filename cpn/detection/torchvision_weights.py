"""Weights of torchvision's RetinaNet, Mask R-CNN and Keypoint R-CNN under our names."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.error import URLError

import torch
from torch import Tensor
from torchvision.models import get_model_weights

from cpn.errors import UserError
from cpn.models.layers import level_name

# PyTorch's BatchNorm adds it to the variance, and ours is that.
NORM_EPS = 1e-5

_LEAF = r"(weight|bias)"
_BRANCH = r"head\.(classification|regression)_head"
_ROI_PARTS = r"(box_head|box_predictor|mask_predictor|keypoint_head|keypoint_predictor)"

# Files from before torchvision 0.13 number the convolutions of a head otherwise; the published ones
# are such. {0}, {1}, ... are the groups of the pattern.
_RULES = (
    (r"backbone\.body\.((?:conv1|bn1|layer[1-4])\..+)", "backbone.body.{0}"),
    (rf"backbone\.fpn\.inner_blocks\.(\d)(?:\.0)?\.{_LEAF}", "pyramid.laterals.{level}.conv.{1}"),
    (rf"backbone\.fpn\.layer_blocks\.(\d)(?:\.0)?\.{_LEAF}", "pyramid.smoothing.{level}.conv.{1}"),
    (rf"backbone\.fpn\.extra_blocks\.(p[67])\.{_LEAF}", "pyramid.extra_convs.{0}.{1}"),
    (rf"{_BRANCH}\.conv\.([0-6])\.{_LEAF}", "heads.head.{0}_head.conv.{half}.0.{2}"),
    (rf"({_BRANCH}\.conv\.\d\.[01]\.{_LEAF})", "heads.{0}"),
    (rf"({_BRANCH}\.(?:cls_logits|bbox_reg)\.{_LEAF})", "heads.{0}"),
    (rf"rpn\.head\.conv\.{_LEAF}", "heads.rpn.head.conv.0.0.{0}"),
    (rf"(rpn\.head\.(?:conv\.0\.0|cls_logits|bbox_pred)\.{_LEAF})", "heads.{0}"),
    (
        rf"roi_heads\.mask_head\.mask_fcn([1-9])\.{_LEAF}",
        "heads.roi_heads.mask_head.{before}.0.{1}",
    ),
    (rf"(roi_heads\.mask_head\.\d\.0\.{_LEAF})", "heads.{0}"),
    (rf"(roi_heads\.{_ROI_PARTS}\..+)", "heads.{0}"),
)


def download_published(name: str) -> dict[str, Tensor]:
    """What torchvision publishes for one of its detectors (COCO_V1), its hash compared.

    Args:
        name: of torchvision's builder, such as "retinanet_resnet50_fpn".

    Raises:
        UserError: it cannot be downloaded.
    """
    entry = get_model_weights(name)["COCO_V1"]
    try:
        state: dict[str, Tensor] = entry.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise UserError(
            f"source=torchvision: {entry.url} cannot be downloaded ({error}); fetch it elsewhere "
            "and set source=/path/to/the/file.pth"
        ) from error
    return state


def detector_kind(state: Mapping[str, Tensor]) -> Literal["retinanet", "mask_rcnn"]:
    """Which of torchvision's detectors the weights are of; Faster R-CNN counts as "mask_rcnn".

    Raises:
        UserError: of none.
    """
    if "head.classification_head.cls_logits.weight" in state:
        return "retinanet"
    if "roi_heads.box_predictor.cls_score.weight" in state:
        return "mask_rcnn"
    raise UserError(
        "no torchvision detector: it has neither head.classification_head.cls_logits (RetinaNet) "
        "nor roi_heads.box_predictor.cls_score (Faster, Mask and Keypoint R-CNN)"
    )


def count_classes(state: Mapping[str, Tensor], *, anchors_per_cell: int) -> int:
    """How many classes the weights tell apart, with the background: 91 in COCO's numbering.

    Args:
        state: of a torchvision detector.
        anchors_per_cell: of RetinaNet, whose last convolution has an output for each.

    Raises:
        UserError: it is none, has other anchors, or knows one class only.
    """
    if detector_kind(state) == "mask_rcnn":
        return _two_or_more(state["roi_heads.box_predictor.cls_score.weight"].shape[0])
    outputs = state["head.classification_head.cls_logits.weight"].shape[0]
    if outputs % anchors_per_cell:
        raise UserError(
            f"it has {outputs} class scores per cell, which {anchors_per_cell} anchors cannot "
            "share: set detector.anchors.ratios and detector.anchors.scales_per_octave to its own"
        )
    return _two_or_more(outputs // anchors_per_cell)


def _two_or_more(classes: int) -> int:
    if classes < 2:
        raise UserError(
            f"it tells {classes} class apart; it takes 2 or more, the background as 0 and a person "
            "as 1"
        )
    return classes


def convert_torchvision(
    state: Mapping[str, Tensor], *, levels: Sequence[int], frozen_eps: float
) -> dict[str, Tensor]:
    """Renames a torchvision detector's state dict for our `Detector`; every key is used.

    Args:
        state: keys as `backbone.body.*`, `backbone.fpn.*`, `head.*`, `rpn.*`, `roi_heads.*`.
        levels: of the backbone that the pyramid takes, ascending.
        frozen_eps: epsilon of its FrozenBatchNorm2d, which is told by having no
            `num_batches_tracked`: 0 in what torchvision published first, 1e-5 otherwise. It is
            absorbed into the weight, exactly, for a BatchNorm2d whose epsilon is 1e-5.

    Raises:
        UserError: a key that its detectors do not have, one that is there twice, or a variance
            that is not above 0.
    """
    names = {key: _our_name(key, levels) for key in state}
    if unknown := [key for key, name in names.items() if name is None]:
        raise UserError(
            f"no torchvision detector on levels {list(levels)}: {len(unknown)} unknown keys, e.g. "
            f"{', '.join(unknown[:3])}"
        )
    converted: dict[str, Tensor] = {}
    for key, name in names.items():
        assert name is not None
        if name in converted:
            raise UserError(f"{key} is there twice, by its old and its new name")
        converted[name] = state[key]
    _thaw(converted, frozen_eps)
    return converted


def _our_name(key: str, levels: Sequence[int]) -> str | None:
    """Our key for one of theirs; None where there is none."""
    for pattern, template in _RULES:
        match = re.fullmatch(pattern, key)
        if match is None:
            continue
        fields: dict[str, Any] = {}
        if "{level}" in template:
            index = int(match[1])
            if index >= len(levels):
                return None
            fields["level"] = level_name(levels[index])
        if "{half}" in template:  # a ReLU stood between, with a number of its own
            if int(match[2]) % 2:
                return None
            fields["half"] = int(match[2]) // 2
        if "{before}" in template:
            fields["before"] = int(match[1]) - 1
        return template.format(*match.groups(), **fields)
    return None


def _thaw(state: dict[str, Tensor], frozen_eps: float) -> None:
    """Makes BatchNorm2d of every FrozenBatchNorm2d, in place, such that it computes the same."""
    for key in [key for key in state if key.endswith(".running_var")]:
        norm = key.removesuffix(".running_var")
        counter = f"{norm}.num_batches_tracked"
        if counter in state:
            continue
        variance = state[key].double()
        if not bool((variance > 0).all()):
            raise UserError(
                f"{key} has a variance of {float(variance.min())}; a trained network's are above 0"
            )
        scale = torch.sqrt((variance + NORM_EPS) / (variance + frozen_eps))
        weight = state.get(f"{norm}.weight")
        if weight is not None:  # without one the check of all keys tells
            state[f"{norm}.weight"] = (weight.double() * scale).to(weight.dtype)
        state[counter] = torch.zeros((), dtype=torch.int64)
