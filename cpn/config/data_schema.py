"""What a configuration may say of the data: where people are, how they are cropped and changed."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cpn.config.network_schema import Count, Positive, PositiveInt, Probability, Strict


class SplitConfig(Strict):
    """One split of a COCO keypoint data set."""

    annotations: str = Field(description="COCO keypoint JSON")
    images: str = Field(description="folder that the JSON's file_name is relative to")
    limit: PositiveInt | None = Field(
        description="use the first N people (detectors: photos) only; null: all"
    )


class MixedConfig(Strict):
    """Another data set to train on, whose keypoints may be others."""

    annotations: str = Field(min_length=1, description="COCO keypoint JSON")
    images: str = Field(min_length=1, description="folder that its file_name is relative to")
    limit: PositiveInt | None = Field(None, description="use the first N people only; null: all")
    weight: float = Field(
        1.0, gt=0, le=100, description="how often an epoch has each of them; 0.5: every second one"
    )
    keypoints: dict[str, str] | None = Field(
        None, min_length=1, description="its names by those of data.train; null: the same names"
    )


class DataConfig(Strict):
    """Where the people are and what their skeleton is."""

    train: SplitConfig
    val: SplitConfig
    sigmas: list[Positive] | Literal["default"] | None = Field(
        description="OKS sigmas; null: known for COCO-17 only; default: COCO's by name, unmeasured"
    )
    flip_pairs: list[Annotated[list[str], Field(min_length=2, max_length=2)]] | None = Field(
        description="names that trade places in a mirror; null: left_*/right_* by name"
    )
    min_keypoints: PositiveInt = Field(description="train on people with at least N labelled ones")
    workers: Count = Field(description="loader processes per rank; 0: in the main process")
    # With defaults: model files from before these keys stay readable.
    on_error: Literal["error", "skip"] = Field(
        "error", description="broken records and photos of data.train: refuse, or leave out, count"
    )
    max_skipped: Probability = Field(
        0.01, description="highest share of people that on_error=skip leaves out"
    )
    max_megapixels: float = Field(
        50, gt=0, le=1000, description="most millions of pixels of photos"
    )
    mix: list[MixedConfig] = Field([], description="further sets to train on, beside train")
    cache: str | None = Field(
        None, min_length=1, description="crops by prepare_data.py: a folder or an fsspec address"
    )
    cache_copies: str = Field(
        "data/shards", min_length=1, description="where shards from an address are kept"
    )
    cache_gib: Positive = Field(50, description="what the kept shards of a cache may occupy")
    cache_window: PositiveInt | None = Field(
        None, description="shuffle within N shards at a time; null: within all"
    )

    @model_validator(mode="after")
    def _mix_of_photos(self) -> Self:
        for key, given, needed in (
            ("cache", self.cache, None),
            ("on_error", self.on_error, "error"),
        ):
            if self.mix and given != needed:
                raise ValueError(
                    f"data.{key}={given} is for one data set; with data.mix set data.{key}="
                    f"{'null' if needed is None else needed}"
                )
        return self

    @model_validator(mode="after")
    def _window_of_a_cache(self) -> Self:
        if self.cache_window is not None and self.cache is None:
            raise ValueError(
                f"data.cache_window={self.cache_window} shuffles the shards of data.cache, which "
                "is null; set data.cache or leave the window out"
            )
        return self


class InputConfig(Strict):
    """The network's input and the rule that turns a person box into a crop."""

    height: int = Field(ge=32, le=2048, multiple_of=32)
    width: int = Field(ge=32, le=2048, multiple_of=32)
    margin: float = Field(ge=1, le=2, description="box enlargement after growing to the aspect")

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width


class AugmentConfig(Strict):
    """Random changes of a training crop; evaluation never uses them."""

    scale_range: Annotated[list[Positive], Field(min_length=2, max_length=2)] = Field(
        description="factor on the box size"
    )
    rotation_degrees: float = Field(ge=0, le=180)
    rotation_probability: Probability
    flip_probability: Probability
    half_body_probability: Probability
    half_body_min_keypoints: PositiveInt = Field(description="only people with more visible ones")
    brightness: float = Field(ge=0, lt=1)
    contrast: float = Field(ge=0, lt=1)
    saturation: float = Field(ge=0, lt=1)
    blur_probability: Probability
    dropout_probability: Probability = Field(description="chance that a rectangle is blanked")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.scale_range[0] > self.scale_range[1]:
            raise ValueError(f"scale_range must be [low, high], got {self.scale_range}")
        return self


class MakeSyntheticConfig(Strict):
    """`scripts/make_synthetic.py`: generated people as a COCO data set."""

    out: str
    seed: Count
    train_images: PositiveInt
    val_images: PositiveInt
    height: int = Field(ge=64, le=2048)
    width: int = Field(ge=64, le=2048)
    max_people: int = Field(ge=1, le=8)
    workers: Count


class MakeDetectionsConfig(Strict):
    """`scripts/make_detections.py`: boxes as a detector of a chosen quality gives them."""

    annotations: str = Field(description="COCO keypoint JSON: photos, person category, boxes")
    source: str | None = Field(
        description="COCO detections JSON to make worse; null: the annotated boxes"
    )
    out: str = Field(min_length=1, description="the COCO detections JSON to write")
    jitter: float = Field(ge=0, le=1, description="deviation of a box's shift over its size")
    missed: Probability = Field(description="share of the boxes that are not found")
    repeats: float = Field(ge=0, le=100, description="mean number of further boxes on a person")
    invented: float = Field(ge=0, le=100, description="mean number of boxes of nobody per person")
    seed: Count


class CheckDataConfig(Strict):
    """`scripts/check_data.py`: all records and photos of a data set; `data.limit` is not obeyed."""

    data: DataConfig
    splits: Annotated[list[Literal["train", "val"]], Field(min_length=1, max_length=2)]
    out: str | None = Field(min_length=1, description="JSON of all findings, with every id")


class EstimateSigmasConfig(Strict):
    """`scripts/estimate_sigmas.py`: OKS sigmas from people whom two annotators have labelled."""

    first: str = Field(min_length=1, description="COCO keypoint JSON of one annotator")
    second: str = Field(min_length=1, description="of another one, of the same photos")
    min_iou: Probability = Field(description="boxes that overlap less are of two people")
    min_pairs: PositiveInt = Field(description="refuse with fewer people for any keypoint")
    out: str | None = Field(min_length=1, description="JSON with sigmas and counts; null: none")
