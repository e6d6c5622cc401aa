"""The part of the configuration that defines network, targets and loss."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Probability = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Depth = Annotated[int, Field(ge=0, le=16)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
PyramidLevel = Annotated[int, Field(ge=2, le=5)]
AnyLevel = Annotated[int, Field(ge=2, le=7)]
DeviceName = Literal["auto", "cpu", "cuda"]
PrecisionName = Literal["auto", "fp32", "bf16", "fp16"]


class Strict(BaseModel):
    """Frozen, no unknown keys, no coercion of types, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class BackboneConfig(Strict):
    """The convolutional network that gives C2..C5."""

    name: str = Field(
        pattern=r"^(resnet(10|18|34|50|101|152)|(torchvision|timm):[A-Za-z0-9_.\-]+)$",
        description="resnet10, resnet18, resnet34, resnet50, resnet101, resnet152, "
        "torchvision:<model> or timm:<model>",
    )
    weights: str = Field(min_length=1, description="none, imagenet, or a .pth/.safetensors file")
    width: float = Field(gt=0, le=2, description="channel factor (1 with ImageNet weights)")
    frozen_stages: int = Field(ge=0, le=5, description="0: none, 1: stem, 2: stem and C2, ...")
    # With a default: model files from before this key stay readable.
    drop_path: float = Field(
        default=0.0, ge=0, lt=1, description="stochastic depth of the deepest block, rising from 0"
    )


class PyramidConfig(Strict):
    """Lateral 1x1, top-down upsampling, sum (FPN); CPN adds a 1x1 on the way down."""

    levels: Annotated[list[PyramidLevel], Field(min_length=1)]
    channels: int = Field(ge=1, le=4096, description="of every level; 256 in CPN and FPN")
    upsample: Literal["bilinear", "nearest"]
    # With a default: model files from before this key stay readable.
    top_down: bool = Field(
        default=True,
        description="coarser levels come down and are added; false: only the laterals, "
        "upsample and top_down_conv have no effect",
    )
    top_down_conv: bool = Field(description="1x1 convolution before the sum, as CPN")
    smoothing: bool = Field(description="3x3 convolution after the sum, as FPN")
    lateral_activation: bool = Field(description="ReLU after the lateral 1x1, as CPN")
    extra: Literal["none", "conv", "max_pool"] = Field(description="how P6/P7 are made")
    num_extra: int = Field(ge=0, le=2)
    # With a default: model files from before this key stay readable.
    extra_from: Literal["backbone", "pyramid"] = Field(
        default="backbone",
        description="where extra=conv starts: C5 (RetinaNet's paper) or P5 (torchvision's first)",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.levels != sorted(set(self.levels)):
            raise ValueError(f"levels must ascend without repeats, got {self.levels}")
        if (self.extra == "none") != (self.num_extra == 0):
            raise ValueError(
                f"extra={self.extra} and num_extra={self.num_extra} contradict each other: "
                "use extra=none with num_extra=0, or conv/max_pool with 1 or 2"
            )
        return self

    @property
    def all_levels(self) -> tuple[int, ...]:
        """Ascending levels with the extra ones, e.g. (2, 3, 4, 5, 6)."""
        top = self.levels[-1]
        return (*self.levels, *range(top + 1, top + 1 + self.num_extra))


class GlobalNetConfig(Strict):
    """Keypoint heatmaps at every pyramid level (CPN section 3.2)."""

    supervision: Literal["upsampled", "native"] = Field(
        description="upsampled to model.heatmap_stride before the loss, or each at its own stride"
    )


class BottleneckCounts(Strict):
    """RefineNet bottlenecks per pyramid level (CPN: 0 at the finest to 3 at the coarsest)."""

    p2: Depth
    p3: Depth
    p4: Depth
    p5: Depth
    p6: Depth
    p7: Depth


class RefineConfig(Strict):
    """RefineNet (CPN section 3.3)."""

    enabled: bool = Field(description="false: GlobalNet only")
    levels: Annotated[list[AnyLevel], Field(min_length=1)] | None = Field(
        description="pyramid levels that feed it; null: all"
    )
    bottlenecks: BottleneckCounts
    projection: Literal["always", "when_needed"] = Field(description="1x1 on the shortcut")


class ModelConfig(Strict):
    """The network after the backbone."""

    pyramid: PyramidConfig
    global_net: GlobalNetConfig
    refine: RefineConfig
    heatmap_stride: Literal[2, 4, 8, 16] = Field(description="input pixels per heatmap cell")
    norm: Literal["batch", "group", "none"]
    output_norm: bool = Field(description="normalise the K heatmaps themselves, as CPN")
    align_corners: bool = Field(description="of bilinear upsampling; pytorch-cpn: true")

    @model_validator(mode="after")
    def _levels_exist(self) -> Self:
        missing = set(self.refine.levels or ()) - set(self.pyramid.all_levels)
        if missing and self.refine.enabled:
            raise ValueError(
                f"model.refine.levels has {sorted(missing)}, which model.pyramid does not make; "
                f"allowed: {list(self.pyramid.all_levels)} or null for all"
            )
        return self


class LevelWidths(Strict):
    """One width per pyramid level and for RefineNet: sigma in cells, or kernel size in cells."""

    p2: Positive
    p3: Positive
    p4: Positive
    p5: Positive
    p6: Positive
    p7: Positive
    refined: Positive


class HeatmapConfig(Strict):
    """The training targets."""

    family: Literal["gaussian", "blurred_one_hot"] = Field(
        description="peak-1 Gaussian by sigma, or the CPN originals' blurred cell by kernel"
    )
    widths: LevelWidths

    @model_validator(mode="after")
    def _odd_kernels(self) -> Self:
        sizes = self.widths.model_dump()
        bad = {level: size for level, size in sizes.items() if size % 2 != 1}
        if self.family == "blurred_one_hot" and bad:
            raise ValueError(f"widths are kernel sizes here and must be odd integers, got {bad}")
        return self


class LossConfig(Strict):
    """L2 on every GlobalNet level, L2 with online hard keypoint mining on RefineNet."""

    global_weight: NonNegative = Field(description="factor on each level's mean squared error")
    refine_weight: NonNegative
    global_joints: Literal["visible", "labelled"] = Field(description="v=2 only, or v>0")
    refine_joints: Literal["visible", "labelled"]
    uncounted: Literal["ignore", "zero"] = Field(
        description="joints a level does not count: no loss, or trained to an empty map"
    )
    global_top_m: PositiveInt | None = Field(description="OHKM on GlobalNet; null: all keypoints")
    refine_top_m: PositiveInt | None = Field(description="OHKM on RefineNet; null: all keypoints")
