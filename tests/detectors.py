"""Detectors for the tests: torchvision's beside ours with their weights, and tiny ones."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from hydra import compose, initialize_config_dir
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection import KeypointRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from cpn.build_detector import build_detector
from cpn.command_line.composed import validate
from cpn.config.detector_schema import DetectorConfig, ImportDetectorConfig
from cpn.config.network_schema import BackboneConfig
from cpn.detection.detector import Detector
from cpn.detection.torchvision_weights import convert_torchvision
from cpn.weights.state_dict import load_weights

CONFIGS = Path(__file__).parents[1] / "configs"
SMALL = BackboneConfig(name="resnet10", weights="none", width=0.125, frozen_stages=0)

# What both networks are told for the comparison: small photos, everything that is found counts.
SIZES = {"min_size": 96, "max_size": 160}
MOST = {"retinanet": 300, "mask_rcnn": 12, "keypoint_rcnn": 12}
THRESHOLD = 0.02
TOLERANCE = 1e-4
CLASSES = 5


def import_config(
    source: object, out: object, detector: str, *overrides: str
) -> ImportDetectorConfig:
    """Compose `scripts/import_detector.py`'s config."""
    given = [f"source={source}", f"out={out}", f"network={detector}", *overrides]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return validate(compose("import_detector", given), ImportDetectorConfig)


def detector_config(name: str, *overrides: str) -> DetectorConfig:
    """Compose a detector of configs/network."""
    return import_config("x", "x", name, *overrides).detector


def changed(config: DetectorConfig, **changes: Any) -> DetectorConfig:
    """Copy a config with some keys of its top changed."""
    return DetectorConfig.model_validate({**config.model_dump(), **changes})


def reference(kind: str, depth: str = "resnet18", **options: Any) -> Any:
    """Build torchvision's network of a kind, with weights that find many boxes."""
    torch.manual_seed(0)
    common = {**SIZES, "_skip_resize": True, **options}
    if depth == "resnet50":
        name = {"retinanet": "retinanet", "mask_rcnn": "maskrcnn"}.get(kind, "keypointrcnn")
        builder = torchvision.models.get_model_builder(f"{name}_resnet50_fpn")
        make = partial(builder, weights=None, weights_backbone=None, num_classes=CLASSES)
    else:
        extra = {"returned_layers": [2, 3, 4], "extra_blocks": LastLevelP6P7(256, 256)}
        backbone = resnet_fpn_backbone(
            backbone_name=depth,
            weights=None,
            norm_layer=nn.BatchNorm2d,
            trainable_layers=5,
            **(extra if kind == "retinanet" else {}),
        )
        network = {"retinanet": RetinaNet, "mask_rcnn": MaskRCNN}.get(kind, KeypointRCNN)
        make = partial(network, backbone, num_classes=CLASSES)
    prefix = "" if kind == "retinanet" else "box_"
    kept = {f"{prefix}detections_per_img": MOST[kind], f"{prefix}score_thresh": THRESHOLD}
    made: nn.Module = make(**kept, **common)
    return awakened(made)


def awakened(model: nn.Module) -> nn.Module:
    """Give norms the statistics of a trained network, and heads opinions."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.BatchNorm2d | FrozenBatchNorm2d):
            with torch.no_grad():
                assert layer.running_mean is not None
                assert layer.running_var is not None
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 2)
                layer.weight.uniform_(0.3, 0.9)
                layer.bias.normal_(0, 0.1)
        if isinstance(layer, nn.Conv2d) and "head.conv." in name:  # they start near zero
            nn.init.kaiming_normal_(layer.weight)
        last = name.rsplit(".", 1)[-1]
        if last in ("cls_logits", "cls_score"):
            nn.init.normal_(layer.weight, std=0.2 if isinstance(layer, nn.Linear) else 0.05)
            nn.init.zeros_(layer.bias)
        elif last in ("bbox_reg", "bbox_pred"):
            nn.init.normal_(layer.weight, std=0.02 if isinstance(layer, nn.Linear) else 0.004)
    return model


def frozen(model: nn.Module) -> nn.Module:
    """Put FrozenBatchNorm2d of epsilon 0 for every BatchNorm2d, as torchvision's published ones."""
    for name, child in model.named_children():
        if isinstance(child, nn.BatchNorm2d):
            norm = FrozenBatchNorm2d(child.num_features, eps=0.0)
            norm.load_state_dict(child.state_dict())
            setattr(model, name, norm)
        else:
            frozen(child)
    return model


def twin(kind: str, theirs: nn.Module, depth: str = "resnet18", **changes: Any) -> Detector:
    """Build our network of a kind with their weights."""
    kept = {"max_people": MOST[kind], "score_threshold": THRESHOLD, "num_classes": CLASSES}
    config = changed(detector_config(kind), **{**kept, **SIZES, **changes})
    backbone = BackboneConfig(name=depth, weights="none", width=1.0, frozen_stages=0)
    ours = build_detector(backbone, config)
    state = convert_torchvision(theirs.state_dict(), levels=config.pyramid.levels, frozen_eps=0.0)
    load_weights(ours, state, source="torchvision")
    return ours


def photos(sizes_hw: Sequence[tuple[int, int]], seed: int = 0) -> list[Tensor]:
    """Make blotches and noise in 0..1."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for size in sizes_hw:
        coarse = torch.rand(1, 3, *(2 + side // 32 for side in size), generator=generator)
        blotches = functional.interpolate(coarse, size=size, mode="bilinear")[0]
        made.append(0.7 * blotches + 0.3 * torch.rand(3, *size, generator=generator))
    return made


def people(sizes_hw: Sequence[tuple[int, int]]) -> list[dict[str, Tensor]]:
    """Put two people into every photo but the last, which is empty."""
    targets = []
    for index, (h, w) in enumerate(sizes_hw):
        boxes = torch.tensor([[0.1, 0.1, 0.5, 0.9], [0.4, 0.2, 0.9, 0.7]])
        boxes = boxes[: 0 if index == len(sizes_hw) - 1 else 2] * torch.tensor([w, h, w, h])
        masks = torch.zeros(len(boxes), h, w, dtype=torch.uint8)
        keypoints = torch.ones(len(boxes), 17, 3)
        for person, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
            masks[person, int(y0) : int(y1), int(x0) : int((x0 + x1) / 2)] = 1
            keypoints[person, :, 0] = torch.linspace(x0 + 1, x1 - 1, 17)
            keypoints[person, :, 1] = torch.linspace(y0 + 1, y1 - 1, 17)
        labels = torch.ones(len(boxes), dtype=torch.int64)
        targets.append({"boxes": boxes, "labels": labels, "masks": masks, "keypoints": keypoints})
    return targets


def assert_same(ours: Any, theirs: Any, *, at_least: int) -> None:
    """Compare the detections of some photos, of which there must be enough.

    Those of equal scores, up to rounding, may stand in another order.
    """
    assert len(ours) == len(theirs)
    for found, expected in zip(ours, theirs, strict=True):
        assert found.keys() == expected.keys()
        assert len(found["boxes"]) == len(expected["boxes"]) >= at_least
        order = linear_sum_assignment(_unlikeness(expected, found))[1]
        for name, value in expected.items():
            difference = float((found[name][order].double() - value.double()).abs().max())
            assert difference <= TOLERANCE, f"{name} differ by {difference}"
        assert float((found["scores"] - expected["scores"]).abs().max()) <= TOLERANCE


def _unlikeness(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Any:
    """Compare every detection of one photo (rows) with every one of the other."""
    columns = ("boxes", "scores", "labels")
    rows = [
        torch.cat([x[k].double().reshape(len(x["boxes"]), -1) for k in columns], 1) for x in (a, b)
    ]
    return torch.cdist(rows[0], rows[1], p=1).clamp(max=1).numpy()


def largest_difference(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """Compare tensors of the same names."""
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - value).detach().abs().max()) for name, value in theirs.items())
