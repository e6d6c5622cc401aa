"""The configuration of `scripts/evaluate.py` and `scripts/compare.py`; see `cpn.config.schema`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from cpn.config.network_schema import (
    Count,
    DeviceName,
    Positive,
    PositiveInt,
    PrecisionName,
    Probability,
    Strict,
)
from cpn.config.schema import (
    BlurKernel,
    DetectionsConfig,
    EvaluationConfig,
    ScoreMode,
    require_file_with_boxes,
)


class FinalEvaluationConfig(EvaluationConfig):
    """What an evaluation of its own computes beside AP."""

    resamples: Count = Field(description="of the images, for intervals in the report; 0: none")
    confidence: float = Field(gt=0, lt=1, description="of the intervals")
    report: bool = Field(description="write the HTML page with the analysis of mistakes")


class DecodeOverrides(Strict):
    """What to decode otherwise than trained; null: as trained."""

    method: Literal["argmax", "quarter", "dark"] | None = None
    blur_kernel: BlurKernel | None = None
    flip_test: bool | None = None
    flip_shift: bool | None = None


class PostprocessOverrides(Strict):
    """What to score otherwise than trained; null: as trained."""

    score: ScoreMode | None = None
    keypoint_threshold: Probability | None = None
    nms: Literal["none", "oks", "soft_oks"] | None = None
    nms_threshold: Probability | None = None


class CompareConfig(Strict):
    """`scripts/compare.py`: is one results file better than another, by how much, and where."""

    a: str = Field(description="COCO keypoint results JSON")
    b: str = Field(description="another one of the same images")
    annotations: str = Field(description="the COCO keypoint JSON that both are scored against")
    sigmas: list[Positive] | None = Field(description="OKS sigmas; null: COCO's, by keypoint names")
    resamples: PositiveInt = Field(description="of the images, for intervals and p-values")
    confidence: float = Field(gt=0, lt=1, description="of the intervals")
    seed: Count = Field(description="of the resamples")
    most: Count = Field(description="how many of the people who changed most are listed")
    out: str | None = Field(description="JSON of all numbers and people; null: none")


class EvaluateConfig(Strict):
    """`scripts/evaluate.py`: a checkpoint on a data set, or an existing results file.

    The data and each key of `decode` and `postprocess` are the checkpoint's own where null.
    """

    checkpoint: str | None = Field(description="model.safetensors of a run")
    results: str | None = Field(description="COCO results JSON to score, instead of a checkpoint")
    annotations: str | None = Field(description="COCO keypoint JSON; null: the checkpoint's val")
    images: str | None = Field(
        description="image folder; null: the checkpoint's val, with results=... no photos to show"
    )
    limit: PositiveInt | None = Field(
        description="the first N people; null: the checkpoint's val limit, all with annotations=..."
    )
    out: str | None = Field(description="metrics JSON; null: beside the checkpoint or the results")
    group_by: str | None = Field(description="image field of the COCO JSON to slice the numbers by")
    sigmas: list[Positive] | None = Field(description="OKS sigmas when scoring a results file")
    boxes: Literal["ground_truth", "detections", "detector"]
    detections: DetectionsConfig
    detector: str | None = Field(
        description="model.safetensors of a person detector, for boxes=detector; what it finds is "
        "written beside `out`"
    )
    evaluation: FinalEvaluationConfig
    decode: DecodeOverrides
    postprocess: PostprocessOverrides
    rescaling: str | None = Field(
        description="a *_rescaling.json of an evaluation: scores become the OKS to be expected"
    )
    batch_size: PositiveInt
    part_batches: PositiveInt = Field(description="batches that a crash may cost, of each rank")
    workers: Count
    device: DeviceName
    precision: PrecisionName = Field(
        description="auto: bf16 where the device computes in it, else fp32"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.checkpoint is None) == (self.results is None):
            raise ValueError("give either checkpoint=<model.safetensors> or results=<COCO json>")
        if self.results is not None and self.annotations is None:
            raise ValueError("results=... needs annotations=<COCO keypoint json>")
        return self

    @model_validator(mode="after")
    def _files_go_with_boxes(self) -> Self:
        require_file_with_boxes(self.boxes, self.detections)
        if (self.boxes == "detector") != (self.detector is not None):
            raise ValueError(
                f"boxes={self.boxes} and detector={self.detector} contradict each other: "
                "boxes=detector needs detector=<model.safetensors>, other boxes take none"
            )
        return self

    @model_validator(mode="after")
    def _keys_go_with_the_source(self) -> Self:
        if self.results is not None and (ignored := self._given_for_a_checkpoint()):
            raise ValueError(
                f"results=... is scored as it is: leave out {', '.join(ignored)}, or give "
                "checkpoint=... instead of results=..."
            )
        if self.checkpoint is not None and self.sigmas is not None:
            raise ValueError("sigmas goes with results=... only: a checkpoint has its own")
        if self.boxes != "ground_truth" and self.limit is not None:
            raise ValueError(
                f"limit={self.limit} with boxes={self.boxes} would score that many boxes against "
                "everybody; leave out limit or use boxes=ground_truth"
            )
        return self

    def _given_for_a_checkpoint(self) -> list[str]:
        """Dotted keys with a value that scoring a results file has no use for."""
        groups = {"decode": self.decode, "postprocess": self.postprocess}
        values = {
            f"{name}.{key}": value
            for name, group in groups.items()
            for key, value in group.model_dump().items()
        }
        values |= {"limit": self.limit, "group_by": self.group_by}
        values |= {"rescaling": self.rescaling}
        given = [name for name, value in values.items() if value is not None]
        return given + ([] if self.boxes == "ground_truth" else ["boxes", str(self.boxes)])
