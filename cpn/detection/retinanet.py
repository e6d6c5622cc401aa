"""RetinaNet (Lin et al. 2017, Focal Loss for Dense Object Detection), with torchvision's head."""

import math
from dataclasses import dataclass
from typing import Literal

from torch import nn
from torchvision.models.detection.retinanet import RetinaNet, RetinaNetHead

from cpn.detection.anchors import AnchorDesign, PyramidAnchors
from cpn.detection.detector import InferenceDesign, PyramidFeatures, answers_in_float32

MAX_CONVS = 4


@dataclass(frozen=True)
class RetinaNetDesign:
    """The two branches that all levels share; they are as wide as the pyramid.

    Attributes:
        convs: 3x3 convolutions before the last one of each branch, 1 to 4.
        norm: after each of them.
        box_loss: L1 of the encoded offsets (the paper's is its smooth form), or generalised IoU.
        candidates_per_level: how many of the surest go into non-maximum suppression.
    """

    convs: int = MAX_CONVS
    norm: Literal["group", "none"] = "none"
    box_loss: Literal["l1", "giou"] = "l1"
    candidates_per_level: int = 1000


def retinanet(
    features: PyramidFeatures,
    *,
    num_classes: int,
    anchors: AnchorDesign,
    inference: InferenceDesign,
    design: RetinaNetDesign,
) -> RetinaNet:
    """The network on these features, with the prior of the focal loss (paper, section 4.1).

    Args:
        features: pyramid levels; every one of them is searched.
        num_classes: with the background, as 0.
        anchors: one size for each level.
        inference: sizes and thresholds.
        design: of the head.

    Raises:
        ValueError: not one anchor size for each level.
    """
    generator = PyramidAnchors(features.strides, anchors)
    head = RetinaNetHead(
        features.out_channels,
        anchors.per_cell,
        num_classes,
        norm_layer=_group_norm if design.norm == "group" else None,
    )
    for branch in (head.classification_head, head.regression_head):
        branch.conv = branch.conv[: design.convs]
    head.regression_head._loss_type = design.box_loss  # noqa: SLF001 - as torchvision's v2 sets it
    return RetinaNet(
        features,
        num_classes,
        anchor_generator=generator,
        head=answers_in_float32(head),
        score_thresh=inference.score_threshold,
        nms_thresh=inference.nms_threshold,
        detections_per_img=inference.max_detections,
        topk_candidates=design.candidates_per_level,
        **features.transform_options(inference),
    )


def _group_norm(channels: int) -> nn.Module:
    """Groups of 8 channels, as 32 groups of 256 are: narrow ones forget how strong a feature is."""
    return nn.GroupNorm(math.gcd(32, max(1, channels // 8), channels), channels)
