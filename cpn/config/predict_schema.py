"""What a configuration of prediction may say."""

from typing import Literal, Self

from pydantic import Field, model_validator

from cpn.config.network_schema import (
    DeviceName,
    NonNegative,
    Positive,
    PositiveInt,
    PrecisionName,
    Probability,
    Strict,
)


class FoundPeopleConfig(Strict):
    """Which of the people that the detector finds count."""

    score_threshold: Probability | None = Field(
        description="boxes below it do not; null: as the detector's file says"
    )
    max_people: PositiveInt | None = Field(
        description="most per photo or frame; null: as the detector's file says"
    )


class TrackingConfig(Strict):
    """Who is who from frame to frame of a video or camera, by ByteTrack."""

    enabled: bool
    high_score: Probability = Field(description="boxes at least this sure begin tracks")
    min_iou: Probability = Field(description="overlap of a box with where its track is expected")
    lost_seconds: Positive = Field(description="after so long without a box a track is over")


class SmoothingConfig(Strict):
    """The 1-Euro filter (Casiez et al., CHI 2012), per track and keypoint."""

    enabled: bool
    min_cutoff: Positive = Field(description="Hz, of a keypoint at rest; lower is smoother")
    beta: NonNegative = Field(
        description="Hz per person size and second; higher lags less in motion"
    )
    d_cutoff: Positive = Field(description="Hz, of the speed")


class PredictConfig(Strict):
    """`scripts/predict.py`: photos, a video or a camera in, keypoints and pictures out."""

    checkpoint: str = Field(description="model.safetensors of a run")
    source: str = Field(
        description="a photo, a folder of photos, a video, camera or camera:<number>"
    )
    detector: str | None = Field(description="model.safetensors of a detector; it finds the people")
    detections: FoundPeopleConfig
    boxes: str | None = Field(
        description="COCO JSON with person boxes of photos; without it and a detector the whole"
        " image is one person"
    )
    tracking: TrackingConfig
    smoothing: SmoothingConfig
    out: str = Field(description="folder for the JSON files, the pictures and the video")
    draw: bool = Field(description="write pictures with skeletons, of a video a video")
    keypoint_threshold: Probability = Field(
        description="draw, and smooth, keypoints at least this sure"
    )
    max_megapixels: float = Field(
        gt=0, le=1000, description="most millions of pixels of a photo or frame"
    )
    max_frames: PositiveInt | None = Field(description="most of a video or camera; null: all")
    on_error: Literal["error", "skip"] = Field(
        description="a photo that cannot be read, or a video that is cut off"
    )
    batch_size: PositiveInt = Field(description="people at once in the network")
    batch_images: PositiveInt = Field(description="photos or frames at once; a camera's one by one")
    precision: PrecisionName = Field(description="auto: half precision on a GPU, else fp32")
    device: DeviceName

    @model_validator(mode="after")
    def _people_come_from_one_place(self) -> Self:
        if self.boxes is not None and self.detector is not None:
            raise ValueError(
                f"boxes={self.boxes} and detector={self.detector} contradict each other:"
                " both say where the people are; leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _smoothing_knows_who_is_who(self) -> Self:
        if self.smoothing.enabled and not self.tracking.enabled:
            raise ValueError(
                "smoothing.enabled=true needs tracking.enabled=true: it follows each person from "
                "frame to frame"
            )
        return self
