"""Mask R-CNN (He et al. 2017) and its keypoint head, with torchvision's components."""

from dataclasses import dataclass

from torch import nn
from torchvision.models.detection.faster_rcnn import FasterRCNN, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead

from cpn.detection.anchors import AnchorDesign, PyramidAnchors, roi_align_on
from cpn.detection.detector import InferenceDesign, PyramidFeatures, answers_in_float32


@dataclass(frozen=True)
class ProposalDesign:
    """The region proposal network: how many boxes it hands on from each photo.

    Attributes:
        candidates_train, candidates_test: of each level, before non-maximum suppression.
        proposals_train, proposals_test: of the photo, after it.
        nms_threshold: IoU from which the less sure of two is dropped.
        samples: anchors per photo that the loss counts, up to half of them on people.
    """

    candidates_train: int = 2000
    candidates_test: int = 1000
    proposals_train: int = 2000
    proposals_test: int = 1000
    nms_threshold: float = 0.7
    samples: int = 256


@dataclass(frozen=True)
class RoiHeadDesign:
    """A stack of 3x3 convolutions on the RoIs, for masks or keypoints.

    Attributes:
        roi_size: cells of the pooled RoI in each direction.
        convs: how many convolutions.
        width: channels of each.
    """

    roi_size: int
    convs: int
    width: int


@dataclass(frozen=True)
class MaskRcnnDesign:
    """The second stage.

    Attributes:
        proposals: of the first stage.
        roi_size: cells of the RoI in each direction, for the box head.
        canonical_size: root of the area, in pixels, of a RoI that is pooled at stride 16.
        box_width: of the box head's two layers.
        samples: RoIs per photo that the loss counts, up to a quarter of them on people.
        mask: its head; without one there are no masks.
        keypoint: its head; without one there are no keypoints.
        num_keypoints: K.
    """

    proposals: ProposalDesign = ProposalDesign()
    roi_size: int = 7
    canonical_size: float = 224
    box_width: int = 1024
    samples: int = 512
    mask: RoiHeadDesign | None = None
    keypoint: RoiHeadDesign | None = None
    num_keypoints: int = 17


def mask_rcnn(
    features: PyramidFeatures,
    *,
    num_classes: int,
    anchors: AnchorDesign,
    inference: InferenceDesign,
    design: MaskRcnnDesign,
) -> FasterRCNN:
    """The network on these features; without mask and keypoint heads it is Faster R-CNN.

    Proposals come from every pyramid level, RoIs are pooled from those that the backbone has.

    Args:
        features: pyramid levels.
        num_classes: with the background, as 0.
        anchors: one size for each level.
        inference: sizes and thresholds.
        design: of proposals and heads.

    Raises:
        ValueError: not one anchor size for each level.
    """
    channels, width = features.out_channels, design.box_width
    proposals = design.proposals
    network = FasterRCNN(
        features,
        rpn_anchor_generator=PyramidAnchors(features.strides, anchors),
        rpn_head=answers_in_float32(RPNHead(channels, anchors.per_cell)),
        rpn_pre_nms_top_n_train=proposals.candidates_train,
        rpn_pre_nms_top_n_test=proposals.candidates_test,
        rpn_post_nms_top_n_train=proposals.proposals_train,
        rpn_post_nms_top_n_test=proposals.proposals_test,
        rpn_nms_thresh=proposals.nms_threshold,
        rpn_batch_size_per_image=proposals.samples,
        box_roi_pool=_pool(features, design, design.roi_size),
        box_head=TwoMLPHead(channels * design.roi_size**2, width),
        box_predictor=answers_in_float32(FastRCNNPredictor(width, num_classes)),
        box_score_thresh=inference.score_threshold,
        box_nms_thresh=inference.nms_threshold,
        box_detections_per_img=inference.max_detections,
        box_batch_size_per_image=design.samples,
        **features.transform_options(inference),
    )
    if design.mask is not None:
        _add_mask_head(network.roi_heads, features, design, design.mask, num_classes)
    if design.keypoint is not None:
        _add_keypoint_head(network.roi_heads, features, design, design.keypoint)
    return network


def _pool(features: PyramidFeatures, design: MaskRcnnDesign, roi_size: int) -> nn.Module:
    pool: nn.Module = roi_align_on(
        features.lateral_strides, output_size=roi_size, canonical_size=design.canonical_size
    )
    return pool


def _add_mask_head(
    roi_heads: nn.Module,
    features: PyramidFeatures,
    design: MaskRcnnDesign,
    head: RoiHeadDesign,
    num_classes: int,
) -> None:
    roi_heads.mask_roi_pool = _pool(features, design, head.roi_size)
    roi_heads.mask_head = MaskRCNNHeads(features.out_channels, [head.width] * head.convs, 1)
    roi_heads.mask_predictor = answers_in_float32(
        MaskRCNNPredictor(head.width, head.width, num_classes)
    )


def _add_keypoint_head(
    roi_heads: nn.Module, features: PyramidFeatures, design: MaskRcnnDesign, head: RoiHeadDesign
) -> None:
    roi_heads.keypoint_roi_pool = _pool(features, design, head.roi_size)
    roi_heads.keypoint_head = KeypointRCNNHeads(features.out_channels, [head.width] * head.convs)
    roi_heads.keypoint_predictor = answers_in_float32(
        KeypointRCNNPredictor(head.width, design.num_keypoints)
    )
