"""The configuration of `scripts/search.py`; see `cpn.config.schema`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cpn.config.network_schema import Count, PositiveInt, Strict
from cpn.config.schema import TrainConfig
from cpn.config.study_schema import StudyFolder

Number = int | float
Choice = bool | int | float | str | list[int]
StudyName = Annotated[str, Field(pattern=r"^[\w\-]+$")]
Key = Annotated[str, Field(pattern=r"^[\w@/.]+$")]


class DimensionConfig(Strict):
    """What is tried for a key: choices, or the numbers from low to high."""

    choices: Annotated[list[Choice], Field(min_length=1)] | None = None
    low: Number | None = None
    high: Number | None = Field(default=None, description="included")
    log: bool = Field(default=False, description="as many trials from 0.001 to 0.01 as to 0.1")
    step: Annotated[Number, Field(gt=0)] | None = Field(
        default=None, description="between the numbers; null: any, or 1 if both ends are integers"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.choices is not None:
            if (self.low, self.high, self.log, self.step) != (None, None, False, None):
                raise ValueError("choices go without low, high, log and step")
            return self
        if self.low is None or self.high is None:
            raise ValueError("needs choices, or low and high")
        if self.low >= self.high:
            raise ValueError(f"low={self.low} is not below high={self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log=true needs low above 0, and no step")
        return self


class SearchSettings(Strict):
    """How it is searched."""

    name: StudyFolder = Field(description="of the search's folder in `out`")
    seed: Count = Field(description="of the suggestions and of every training")
    jobs: PositiveInt | None = Field(
        description="trainings at the same time; null: one per GPU, or one per core"
    )
    pruner: Literal["none", "halving", "hyperband"] = Field(
        description="stops a training whose AP on the way is not among the better ones"
    )


class SearchConfig(TrainConfig):
    """`scripts/search.py`: the best combination of what several studies vary.

    The rest is the training config that the combinations change.
    """

    studies: list[StudyName] = Field(
        description="of configs/study; each is a dimension, and its variants are the choices"
    )
    space: dict[Key, DimensionConfig] | None = Field(description="more dimensions, by dotted key")
    trials: PositiveInt = Field(description="combinations to try, those of earlier calls included")
    out: str = Field(min_length=1, description="folder of searches and of the runs they share")
    search: SearchSettings

    @model_validator(mode="after")
    def _something_varies(self) -> Self:
        if not self.studies and not self.space:
            raise ValueError(
                "nothing varies: give studies=[pyramid_levels,...], or "
                "'space={optimizer.lr: {low: 1e-4, high: 1e-1, log: true}}'"
            )
        if len(set(self.studies)) < len(self.studies):
            raise ValueError(f"studies are repeated: {self.studies}")
        if self.search.pruner != "none" and self.engine.evaluate_every >= self.engine.epochs:
            raise ValueError(
                f"search.pruner={self.search.pruner} needs AP on the way: "
                f"engine.evaluate_every={self.engine.evaluate_every} is not below "
                f"engine.epochs={self.engine.epochs}"
            )
        return self
