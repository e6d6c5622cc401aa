"""The part of the configuration that defines a person detector and how it looks at photos."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cpn.config.network_schema import (
    BackboneConfig,
    NonNegative,
    Positive,
    PositiveInt,
    Probability,
    PyramidConfig,
    Strict,
)


class AnchorConfig(Strict):
    """The boxes that every cell of the pyramid starts from."""

    sizes: Annotated[list[PositiveInt], Field(min_length=1)] = Field(
        description="root of the area in pixels, one for each pyramid level, fine to coarse"
    )
    ratios: Annotated[list[Positive], Field(min_length=1)] = Field(description="height / width")
    scales_per_octave: int = Field(
        ge=1, le=8, description="n: every size also times 2^(1/n), ... 2^((n-1)/n)"
    )
    strides: Literal["declared", "measured"] = Field(
        description="declared: anchors stand as far apart as the level's cells; measured: padded "
        "image // map, as torchvision, whose weights have learned it: the same up to P5, but less "
        "than the stride where the padded image is no multiple of it (P6, P7)"
    )


class RetinaNetConfig(Strict):
    """The two branches that all levels share (Focal Loss, section 4); as wide as the pyramid."""

    convs: int = Field(ge=1, le=4, description="3x3 convolutions of each branch before the last")
    norm: Literal["group", "none"] = Field(description="after each of them")
    box_loss: Literal["l1", "giou"]
    candidates_per_level: PositiveInt = Field(description="before non-maximum suppression")


class ProposalConfig(Strict):
    """The region proposal network."""

    candidates_train: PositiveInt = Field(description="per level, before suppression")
    candidates_test: PositiveInt
    proposals_train: PositiveInt = Field(description="per photo, after it")
    proposals_test: PositiveInt
    nms_threshold: Probability
    samples: PositiveInt = Field(description="anchors per photo that the loss counts")


class RoiHeadConfig(Strict):
    """3x3 convolutions on pooled regions, for masks or keypoints."""

    roi_size: PositiveInt = Field(description="cells of the pooled region in each direction")
    convs: int = Field(ge=1, le=16)
    width: PositiveInt = Field(description="channels of each convolution")


class KeypointHeadConfig(RoiHeadConfig):
    """Keypoint R-CNN's."""

    number: PositiveInt = Field(description="keypoints of a person; 17 in COCO")


class MaskRcnnConfig(Strict):
    """The two stages; without mask and keypoint it is Faster R-CNN."""

    proposals: ProposalConfig
    roi_size: PositiveInt = Field(description="cells of the pooled region, for the box head")
    canonical_size: Positive = Field(
        description="root of the area, in pixels, of a region that is pooled at stride 16 (FPN "
        "equation 1: 224)"
    )
    box_width: PositiveInt = Field(description="of the box head's two layers")
    samples: PositiveInt = Field(description="regions per photo that the loss counts")
    mask: RoiHeadConfig | None = Field(description="null: no masks")
    keypoint: KeypointHeadConfig | None = Field(description="null: no keypoints")


class DetectorConfig(Strict):
    """A person detector after the backbone, and how it looks at photos."""

    kind: Literal["retinanet", "mask_rcnn"]
    pyramid: PyramidConfig
    norm: Literal["batch", "group", "none"] = Field(description="of the pyramid")
    align_corners: bool = Field(description="of pyramid.upsample=bilinear")
    anchors: AnchorConfig
    retinanet: RetinaNetConfig | None = Field(description="null with another kind")
    mask_rcnn: MaskRcnnConfig | None = Field(description="null with another kind")
    num_classes: int = Field(ge=2, description="with the background as 0; 1 is a person")
    min_size: PositiveInt = Field(description="shorter side of a photo, in evaluation")
    max_size: PositiveInt = Field(description="but the longer one stays within it")
    score_threshold: Probability = Field(description="boxes below it are dropped")
    nms_threshold: Probability = Field(description="IoU of boxes of which one is dropped")
    max_people: PositiveInt = Field(description="detections of one photo")

    @model_validator(mode="after")
    def _head_goes_with_kind(self) -> Self:
        heads = {"retinanet": self.retinanet, "mask_rcnn": self.mask_rcnn}
        given = [name for name, head in heads.items() if head is not None]
        if given != [self.kind]:
            raise ValueError(
                f"kind={self.kind} goes with the group {self.kind} and no other, got "
                f"{', '.join(given) or 'none'}; use network={self.kind}"
            )
        return self

    @model_validator(mode="after")
    def _one_size_for_each_level(self) -> Self:
        sizes, levels = self.anchors.sizes, self.pyramid.all_levels
        if len(sizes) != len(levels):
            raise ValueError(
                f"anchors.sizes has {len(sizes)} sizes, {sizes}, for the {len(levels)} levels "
                f"{list(levels)} of pyramid: give one for each"
            )
        if self.max_size < self.min_size:
            raise ValueError(
                f"max_size={self.max_size} is below min_size={self.min_size}; use at least that"
            )
        return self


class DetectorNetworkConfig(Strict):
    """All that it takes to build a detector again; every detector's model file carries it."""

    backbone: BackboneConfig
    detector: DetectorConfig


class ImportDetectorConfig(DetectorNetworkConfig):
    """`scripts/import_detector.py`: a torchvision detector as a model file of ours."""

    source: str = Field(
        min_length=1, description="torchvision (downloads what it published), or a file of weights"
    )
    out: str = Field(min_length=1, description="the model.safetensors to write")
    frozen_eps: NonNegative = Field(
        description="epsilon of the file's FrozenBatchNorm2d: 0 in torchvision's published weights "
        "and what was tuned from them, 1e-5 in others; of no effect on a BatchNorm2d"
    )

    @model_validator(mode="after")
    def _published_epsilon(self) -> Self:
        if self.source == "torchvision" and self.frozen_eps:
            raise ValueError(
                f"frozen_eps={self.frozen_eps} contradicts source=torchvision, whose weights have "
                "learned with frozen_eps=0"
            )
        return self
