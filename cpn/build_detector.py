"""From configuration to a person detector, and its model files."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from cpn.build import build_backbone, build_pyramid, metadata_reason, read_metrics
from cpn.config.detector_schema import (
    AnchorConfig,
    DetectorConfig,
    DetectorNetworkConfig,
    MaskRcnnConfig,
    RoiHeadConfig,
)
from cpn.config.network_schema import BackboneConfig
from cpn.config.validation import validate_plain
from cpn.detection.anchors import AnchorDesign
from cpn.detection.detector import Detector, InferenceDesign, PyramidFeatures
from cpn.detection.mask_rcnn import MaskRcnnDesign, ProposalDesign, RoiHeadDesign, mask_rcnn
from cpn.detection.retinanet import RetinaNetDesign, retinanet
from cpn.engine.model_file import Json, load_model_file, save_model_file
from cpn.errors import UserError
from cpn.weights.state_dict import check_weights, load_weights

DETECTOR_KIND = "detector"
"""What a detector's model file says it is, under `kind`."""


def build_detector(
    backbone: BackboneConfig, detector: DetectorConfig, *, weights: str | None = None
) -> Detector:
    """The network that a config describes, with torchvision's detection interface.

    Args:
        backbone: which one.
        detector: pyramid, anchors, heads and inference.
        weights: overrides `backbone.weights` ("none" when a checkpoint follows anyway).

    Raises:
        UserError: pretrained weights cannot be had, or the parts do not fit each other.
    """
    try:
        body = build_backbone(backbone, detector.pyramid, weights=weights or backbone.weights)
        pyramid = build_pyramid(
            detector.pyramid, body, norm=detector.norm, align_corners=detector.align_corners
        )
        return Detector(body, pyramid, _heads(detector))
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"backbone, detector: {error}") from error


def _heads(config: DetectorConfig) -> Callable[[PyramidFeatures], nn.Module]:
    inference = InferenceDesign(
        min_size=config.min_size,
        max_size=config.max_size,
        score_threshold=config.score_threshold,
        nms_threshold=config.nms_threshold,
        max_detections=config.max_people,
    )
    anchors = _anchors(config.anchors)
    if config.kind == "retinanet":
        assert config.retinanet is not None, "the schema makes sure"
        dense = RetinaNetDesign(**config.retinanet.model_dump())
        return partial(
            retinanet,
            num_classes=config.num_classes,
            anchors=anchors,
            inference=inference,
            design=dense,
        )
    assert config.mask_rcnn is not None, "the schema makes sure"
    return partial(
        mask_rcnn,
        num_classes=config.num_classes,
        anchors=anchors,
        inference=inference,
        design=_mask_rcnn_design(config.mask_rcnn),
    )


def _anchors(config: AnchorConfig) -> AnchorDesign:
    return AnchorDesign(
        tuple(config.sizes),
        ratios=tuple(config.ratios),
        scales_per_octave=config.scales_per_octave,
        declared_strides=config.strides == "declared",
    )


def _mask_rcnn_design(config: MaskRcnnConfig) -> MaskRcnnDesign:
    keypoint = config.keypoint
    return MaskRcnnDesign(
        proposals=ProposalDesign(**config.proposals.model_dump()),
        roi_size=config.roi_size,
        canonical_size=config.canonical_size,
        box_width=config.box_width,
        samples=config.samples,
        mask=_roi_head(config.mask),
        keypoint=_roi_head(keypoint),
        num_keypoints=0 if keypoint is None else keypoint.number,
    )


def _roi_head(config: RoiHeadConfig | None) -> RoiHeadDesign | None:
    if config is None:
        return None
    return RoiHeadDesign(roi_size=config.roi_size, convs=config.convs, width=config.width)


class LoadedDetector(NamedTuple):
    """What a detector's model file holds."""

    model: Detector
    config: DetectorNetworkConfig
    metrics: dict[str, float]


def save_detector(
    path: Path, model: Detector, *, config: DetectorNetworkConfig, metrics: dict[str, float]
) -> None:
    """Writes weights with config and metrics in the header (safetensors, atomic)."""
    metadata: dict[str, Json] = {
        "kind": DETECTOR_KIND,
        "config": config.model_dump(mode="json"),
        "metrics": dict(metrics),
    }
    save_model_file(path, model.state_dict(), metadata)


def load_detector(path: Path) -> LoadedDetector:
    """Reads a detector's model file and builds its network, in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is not a detector's, is damaged, or its config is of another version.
    """
    state, metadata = load_model_file(path)
    if metadata.get("kind") != DETECTOR_KIND:
        raise UserError(
            f"{path}: a model of this project, but no detector; use one that "
            "scripts/import_detector.py or scripts/train_detector.py wrote"
        )
    try:
        plain = {name: metadata["config"][name] for name in DetectorNetworkConfig.model_fields}
        config = validate_plain(plain, DetectorNetworkConfig)
        metrics = read_metrics(metadata)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: its config or metrics cannot be used ({metadata_reason(error)}); was it "
            "written by another version of cpn?"
        ) from error
    build = partial(build_detector, config.backbone, config.detector, weights="none")
    with torch.device("meta"):  # takes no memory, of which a small file may ask for any amount
        check_weights(build(), state, source=path)
    model = build()
    load_weights(model, state, source=path)
    return LoadedDetector(model.eval(), config, metrics)
