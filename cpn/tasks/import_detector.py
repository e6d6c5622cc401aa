"""Makes a model file of ours from a torchvision detector."""

import logging
from pathlib import Path

from torch import Tensor

from cpn.build_detector import build_detector, save_detector
from cpn.config.detector_schema import DetectorConfig, DetectorNetworkConfig, ImportDetectorConfig
from cpn.detection.torchvision_weights import (
    convert_torchvision,
    count_classes,
    detector_kind,
    download_published,
)
from cpn.errors import UserError
from cpn.models.weights import read_weights
from cpn.weights.state_dict import load_weights

logger = logging.getLogger(__name__)


def import_detector(config: ImportDetectorConfig) -> None:
    """Converts the weights, key by key; the number of classes is read off them.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is no torchvision detector, not the one that the config describes, or cannot
            be downloaded.
    """
    state = _read(config)
    try:
        detector, converted = _converted(config, state)
    except UserError as error:
        raise UserError(f"{config.source}: {error}") from error
    # The weights come from here: nobody who builds it again needs the ImageNet ones.
    backbone = config.backbone.model_copy(update={"weights": "none"})
    model = build_detector(backbone, detector)
    load_weights(model, converted, source=config.source)
    network = DetectorNetworkConfig(backbone=backbone, detector=detector)
    save_detector(Path(config.out), model, config=network, metrics={})
    logger.info(
        "%s (%s, %d classes): written to %s",
        *(config.source, detector.kind, detector.num_classes, config.out),
    )


def _read(config: ImportDetectorConfig) -> dict[str, Tensor]:
    if config.source == "torchvision":
        return download_published(_published_name(config.detector))
    return read_weights(Path(config.source))


def _published_name(detector: DetectorConfig) -> str:
    """Which of torchvision's networks a config describes."""
    if detector.retinanet is not None:
        second = detector.retinanet.norm == "group"
        return "retinanet_resnet50_fpn_v2" if second else "retinanet_resnet50_fpn"
    assert detector.mask_rcnn is not None, "the schema makes sure"
    if detector.mask_rcnn.keypoint is not None:
        return "keypointrcnn_resnet50_fpn"
    masks = detector.mask_rcnn.mask is not None
    return "maskrcnn_resnet50_fpn" if masks else "fasterrcnn_resnet50_fpn"


def _converted(
    config: ImportDetectorConfig, state: dict[str, Tensor]
) -> tuple[DetectorConfig, dict[str, Tensor]]:
    detector = config.detector
    if (kind := detector_kind(state)) != detector.kind:
        raise UserError(f"it is a {kind}, not a {detector.kind}: use network={kind}")
    anchors = detector.anchors
    classes = count_classes(state, anchors_per_cell=len(anchors.ratios) * anchors.scales_per_octave)
    converted = convert_torchvision(
        state, levels=detector.pyramid.levels, frozen_eps=config.frozen_eps
    )
    return detector.model_copy(update={"num_classes": classes}), converted
