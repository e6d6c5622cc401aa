"""The configuration of `scripts/train_detector.py` and `scripts/detect.py`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cpn.config.detector_schema import DetectorNetworkConfig
from cpn.config.network_schema import (
    Count,
    DeviceName,
    Positive,
    PositiveInt,
    PrecisionName,
    Probability,
    Strict,
)
from cpn.config.schema import TrainingConfig


class PhotoConfig(Strict):
    """Training photos of a detector, and their random changes; evaluation never uses them."""

    height: int = Field(ge=32, le=4096, multiple_of=32, description="of the canvas")
    width: int = Field(ge=32, le=4096, multiple_of=32)
    scales: Annotated[list[Positive], Field(min_length=1)] = Field(
        description="factors on the canvas, of which every batch draws one"
    )
    scale_range: Annotated[list[Positive], Field(min_length=2, max_length=2)] = Field(
        description="factor on the scale at which the photo just fits the canvas"
    )
    flip_probability: Probability
    min_visible: Probability = Field(
        description="people of whose box less is in the window are not labelled"
    )
    brightness: float = Field(ge=0, lt=1)
    contrast: float = Field(ge=0, lt=1)
    saturation: float = Field(ge=0, lt=1)
    empty_photos: bool = Field(description="train on photos without a person, too")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.scale_range[0] > self.scale_range[1]:
            raise ValueError(f"scale_range must be [low, high], got {self.scale_range}")
        return self


class TrainDetectorConfig(TrainingConfig, DetectorNetworkConfig):
    """`scripts/train_detector.py`. Batches and limits count photos, not people."""

    photo: PhotoConfig

    @model_validator(mode="after")
    def _of_poses_only(self) -> Self:
        if self.data.cache is not None:
            raise ValueError(
                f"data.cache={self.data.cache} holds crops of people, detectors see whole photos: "
                "set data.cache=null"
            )
        if self.data.mix:
            raise ValueError(
                "data.mix is for poses only: set data.mix=[], and join the files of a detector"
            )
        if self.data.on_error != "error":
            raise ValueError(
                f"data.on_error={self.data.on_error} is for poses only: set data.on_error=error, "
                "and mend or remove what python scripts/check_data.py finds"
            )
        if self.engine.compile:
            raise ValueError(
                "engine.compile=true: a detector finds another number of boxes in each photo, "
                "which cannot be compiled; set engine.compile=false"
            )
        if self.detector.num_classes != 2:
            raise ValueError(
                f"detector.num_classes={self.detector.num_classes}: people are trained alone, "
                "with the background that is 2"
            )
        return self


class InferenceOverrides(Strict):
    """How to look at photos otherwise than the model file says; null: as it says."""

    min_size: PositiveInt | None = Field(description="shorter side of a photo")
    max_size: PositiveInt | None = Field(description="but the longer one stays within it")
    score_threshold: Probability | None = Field(description="boxes below it are dropped")
    max_people: PositiveInt | None = Field(description="of one photo")


class SuppressionConfig(Strict):
    """What becomes of several boxes on one person."""

    method: Literal["hard", "soft", "soft_linear"] = Field(
        description="drop all but the best, or lower their scores (soft-NMS)"
    )
    threshold: Probability | None = Field(
        description="IoU, of hard and soft_linear; null: the model file's of hard, 0.5"
    )
    sigma: Positive = Field(description="of soft: a score falls by exp(-IoU^2 / sigma)")
    floor: Probability = Field(description="soft and soft_linear drop boxes that fall below it")


class DetectConfig(Strict):
    """`scripts/detect.py`: a data set's photos in, a COCO detections file and its AP(H) out."""

    checkpoint: str = Field(description="a detector's model.safetensors")
    annotations: str = Field(description="COCO JSON: photos, and the people to score against")
    images: str = Field(description="folder that the JSON's file_name is relative to")
    limit: PositiveInt | None = Field(description="the first N photos; null: all")
    out: str = Field(min_length=1, description="the COCO detections JSON to write")
    inference: InferenceOverrides
    nms: SuppressionConfig
    max_megapixels: float = Field(gt=0, le=1000, description="most millions of pixels of photos")
    batch_size: PositiveInt = Field(description="photos, of one size each")
    workers: Count
    device: DeviceName
    precision: PrecisionName = Field(
        description="auto: bf16 where the device computes in it, else fp32"
    )
