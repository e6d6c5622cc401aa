"""What a configuration may say: one frozen model per group, every key documented, nothing extra.

Hydra composes plain YAML (`configs/`), `cpn.command_line.load` turns it into these models and
reports all problems at once. A checkpoint carries a whole `TrainConfig` as JSON.
"""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from cpn.config.data_schema import AugmentConfig, DataConfig, InputConfig
from cpn.config.network_schema import (
    BackboneConfig,
    Count,
    DeviceName,
    HeatmapConfig,
    LossConfig,
    ModelConfig,
    NonNegative,
    Positive,
    PositiveInt,
    PrecisionName,
    Probability,
    Strict,
)


class OptimizerConfig(Strict):
    """The update rule."""

    name: Literal["adamw", "adam", "sgd"]
    lr: Positive
    weight_decay: NonNegative
    momentum: float = Field(ge=0, lt=1, description="of sgd")
    backbone_lr_scale: float = Field(ge=0, le=10)
    layer_decay: float = Field(
        gt=0, le=1, description="factor on the backbone's learning rate per layer from its end"
    )


class ScheduleConfig(Strict):
    """Learning rate over the run."""

    name: Literal["cosine", "step", "constant"]
    warmup_epochs: NonNegative
    warmup_ratio: float = Field(gt=0, le=1, description="first learning rate / base")
    milestones: list[PositiveInt] = Field(description="epochs at which step multiplies by gamma")
    gamma: float = Field(gt=0, le=1)
    final_ratio: float = Field(ge=0, le=1, description="last learning rate of cosine / base")


class EngineConfig(Strict):
    """The training loop and the machine."""

    epochs: PositiveInt
    batch_size: PositiveInt = Field(description="people per optimizer step over all ranks")
    accumulate: PositiveInt = Field(description="micro-batches per optimizer step")
    clip_norm: Positive | None
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None
    precision: PrecisionName = Field(
        description="auto: bf16 where the device computes in it, else fp32"
    )
    device: DeviceName
    channels_last: bool
    compile: bool
    sync_batch_norm: bool
    freeze_batch_norm: bool
    evaluate_every: PositiveInt = Field(description="epochs between evaluations")
    # With defaults: model files from before these keys stay readable.
    save_every_steps: PositiveInt | None = Field(
        default=None,
        description="optimizer steps between training states, beside those after each epoch",
    )
    save_every_minutes: Positive | None = Field(default=None, description="the same in minutes")
    log_every: PositiveInt = Field(description="optimizer steps between log lines")
    timeout_seconds: Positive = Field(description="how long a rank waits for the others")


class DetectionsConfig(Strict):
    """A detector's person boxes, for `boxes=detections`."""

    file: str | None = Field(description="COCO detections JSON")
    score_threshold: Probability = Field(description="boxes below it are left out")
    # With defaults: model files from before these keys stay readable.
    nms: Literal["none", "hard", "soft", "soft_linear"] = Field(
        default="none",
        description="of boxes on one person drop all but the best, or lower their scores",
    )
    nms_threshold: Probability = Field(default=0.5, description="IoU, of hard and soft_linear")
    nms_sigma: Positive = Field(
        default=0.5, description="of soft: a score falls by exp(-IoU^2 / sigma)"
    )
    nms_floor: Probability = Field(
        default=0.001, description="soft and soft_linear drop boxes that fall below it"
    )


class PersonBoxes(Strict):
    """Which person boxes evaluation crops."""

    boxes: Literal["ground_truth", "detections"]
    detections: DetectionsConfig

    @model_validator(mode="after")
    def _file_goes_with_boxes(self) -> Self:
        require_file_with_boxes(self.boxes, self.detections)
        return self


def require_file_with_boxes(boxes: str, detections: DetectionsConfig) -> None:
    """Makes sure that a detections file is given if and only if its boxes are wanted.

    Raises:
        ValueError: with both keys.
    """
    if (boxes == "detections") != (detections.file is not None):
        raise ValueError(
            f"boxes={boxes} and detections.file={detections.file} contradict each other: "
            "boxes=detections needs a file, other boxes take none"
        )


def _odd_or_zero(blur_kernel: int) -> int:
    if blur_kernel and blur_kernel % 2 == 0:
        raise ValueError(f"blur_kernel must be 0 or odd, got {blur_kernel}")
    return blur_kernel


ScoreMode = Literal[
    "box_keypoint", "box_rle", "box", "keypoint", "box_mean", "box_max", "keypoint_max"
]
BlurKernel = Annotated[int, Field(ge=0, le=1023), AfterValidator(_odd_or_zero)]


class EvaluationConfig(Strict):
    """Who computes OKS AP."""

    engine: Literal["pycocotools", "hotcoco"] = Field(
        description="the reference, or the same numbers 30 times as fast"
    )


class DecodeConfig(Strict):
    """From heatmaps to points."""

    method: Literal["argmax", "quarter", "dark"]
    blur_kernel: BlurKernel = Field(description="Gaussian blur before decoding, odd; 0: none")
    flip_test: bool = Field(description="average with the mirrored crop")
    flip_shift: bool = Field(description="shift the mirrored map by one cell")


class PostprocessConfig(Strict):
    """From points to scored results."""

    score: ScoreMode
    keypoint_threshold: Probability = Field(description="keypoints below it do not count")
    nms: Literal["none", "oks", "soft_oks"]
    nms_threshold: Probability


class RunConfig(Strict):
    """Where a run's files go."""

    name: str = Field(min_length=1, pattern=r"^[\w.\-]+$")
    root: str = Field(min_length=1, description="runs are folders <root>/<name>")
    if_exists: Literal["refuse", "resume", "overwrite"]


class TrainingConfig(Strict):
    """What every training has, whatever the network is for."""

    seed: Count
    data: DataConfig
    backbone: BackboneConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    engine: EngineConfig
    run: RunConfig

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.engine.batch_size % self.engine.accumulate:
            raise ValueError(
                f"engine.batch_size={self.engine.batch_size} is not a multiple of "
                f"engine.accumulate={self.engine.accumulate}"
            )
        if self.backbone.width != 1 and self.backbone.weights != "none":
            raise ValueError(
                f"backbone.weights={self.backbone.weights} needs backbone.width=1, "
                f"got {self.backbone.width}"
            )
        return self

    def input_files(self) -> dict[str, str]:
        """What decides about the result beside this config: files, by their keys."""
        mixed = {
            f"data.mix.{number}.annotations": each.annotations
            for number, each in enumerate(self.data.mix)
        }
        return mixed | {
            "data.train.annotations": self.data.train.annotations,
            "data.val.annotations": self.data.val.annotations,
        }


class StartConfig(Strict):
    """A trained network to begin from (fine-tuning)."""

    checkpoint: str | None = Field(
        min_length=1, description="model.safetensors, or pytorch-cpn's .pth.tar; null: none"
    )
    keypoints: Literal["by_name", "none"] = Field(
        description="whose heads are taken: keypoints of the same names, or nobody's"
    )
    strict: bool = Field(description="refuse a checkpoint if anything but heads has no counterpart")


class DistillConfig(Strict):
    """A trained network whose heatmaps are learned beside the annotations'."""

    teacher: str | None = Field(min_length=1, description="a model.safetensors; null: none")
    weight: Probability = Field(description="share of the distance to its heatmaps in the loss")


class TrainConfig(PersonBoxes, TrainingConfig):
    """`scripts/train.py`."""

    input: InputConfig
    augment: AugmentConfig
    model: ModelConfig
    heatmap: HeatmapConfig
    loss: LossConfig
    # Model files that are older than the choice do not name it.
    evaluation: EvaluationConfig = EvaluationConfig(engine="pycocotools")
    decode: DecodeConfig
    postprocess: PostprocessConfig
    # Neither do they name these.
    start: StartConfig = StartConfig(checkpoint=None, keypoints="by_name", strict=True)
    distill: DistillConfig = DistillConfig(teacher=None, weight=0.5)

    def input_files(self) -> dict[str, str]:
        """With the detector's boxes where evaluation crops these, and other networks."""
        more = {
            "detections.file": self.detections.file,
            "start.checkpoint": self.start.checkpoint,
            "distill.teacher": self.distill.teacher,
        }
        return super().input_files() | {key: name for key, name in more.items() if name is not None}

    @model_validator(mode="after")
    def _maps_of_one_size(self) -> Self:
        if self.distill.teacher is not None and self.model.global_net.supervision != "upsampled":
            raise ValueError(
                f"model.global_net.supervision={self.model.global_net.supervision} gives every"
                " level heatmaps of another size than a teacher's; set it to upsampled, or"
                " distill.teacher=null"
            )
        return self

    @model_validator(mode="after")
    def _all_detections(self) -> Self:
        if self.boxes == "detections" and self.data.val.limit is not None:
            raise ValueError(
                f"data.val.limit={self.data.val.limit} with boxes=detections would score that many "
                "boxes against everybody; set data.val.limit=null or boxes=ground_truth"
            )
        return self


class ImportCheckpointConfig(TrainConfig):
    """`scripts/import_checkpoint.py`: a pytorch-cpn checkpoint as a model file of ours.

    The rest is the training config that the model file will carry.
    """

    source: str = Field(description="pytorch-cpn's .pth.tar")
    out: str = Field(description="the model.safetensors to write")


class BenchmarkConfig(TrainConfig):
    """`scripts/benchmark.py`: what a run costs, part by part, and where its time goes.

    The rest is the training config that is measured: `loader` and `evaluation` take its people, if
    asked to, `step`, `evaluation`, `heatmaps` and `scaling` its network's sizes; `startup` starts
    experiment=demo.
    """

    suite: Literal["loader", "step", "heatmaps", "evaluation", "scaling", "startup"]
    out: str = Field(description="the JSON to write")
    history: str | None = Field(
        min_length=1, description="CSV to add the figures to, with commit and machine; null: none"
    )
    rounds: PositiveInt = Field(description="how often each case is timed, in turn")
    photos: Literal["generated", "data"] = Field(
        description="of loader and evaluation: 640x480 photos as heavy as COCO's, or data.train's"
    )


class PrepareDataConfig(TrainConfig):
    """`scripts/prepare_data.py`: the training people cut out of their photos, for `data.cache`.

    The rest is the training config whose crops the cache must suffice for; `data.workers` processes
    make it.
    """

    out: str = Field(min_length=1, description="the folder to write")
    encoding: Literal["raw", "jpeg"] = Field(
        description="raw: pixels, fastest; jpeg: a fifth to an eighth of the size"
    )
    jpeg_quality: int = Field(ge=50, le=100, description="of encoding=jpeg")
    people_per_shard: PositiveInt = Field(description="files are written and fetched as a whole")
