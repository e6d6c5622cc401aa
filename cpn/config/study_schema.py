"""The configuration of studies of named variants; see `cpn.config.schema`."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from cpn.config.detection_schema import TrainDetectorConfig
from cpn.config.network_schema import Count, Positive, PositiveInt, Strict
from cpn.config.schema import TrainConfig, TrainingConfig


def _not_the_trainings(name: str) -> str:
    if name.casefold() == "trainings":
        raise ValueError("the folder trainings is that of the runs which studies share")
    return name


# They become names of folders, and words in a table.
VariantName = Annotated[str, Field(pattern=r"^\w[\w.+\-]*$", max_length=60)]
StudyFolder = Annotated[
    str, Field(pattern=r"^\w[\w.\-]*$", max_length=60), AfterValidator(_not_the_trainings)
]
# What a study decides for each of its runs.
OWN_KEYS = ("seed", "run")


class PublishedFigure(Strict):
    """What a paper reports of a variant; it stands beside ours in the table."""

    ap: float | None = Field(default=None, ge=0, le=100, description="in percent")
    gflops: Positive | None = None


class VariantConfig(Strict):
    """One row of the table."""

    overrides: list[str] = Field(description="as on the command line of a training")
    published: PublishedFigure = PublishedFigure()


class BudgetConfig(Strict):
    """How much a variant may cost; what that cuts is told in the table."""

    steps: PositiveInt | None = Field(
        description="optimizer steps of a run at most, in whole epochs, at least one"
    )
    minutes: Positive | None = Field(
        description="of a run at most, by a short timing: fewer epochs of a slow variant"
    )
    halving: bool = Field(
        description="after each seed only the better half of the variants goes on, and the baseline"
    )


class StudyConfig(Strict):
    """Which variants are trained, how often, and how."""

    name: StudyFolder = Field(description="of the study's folder in `out`, not trainings")
    title: str = Field(min_length=1, description="heads the table")
    source: str | None = Field(description="where the published figures are from")
    baseline: VariantName = Field(description="the variant that the others are compared with")
    variants: Annotated[dict[VariantName, VariantConfig], Field(min_length=1)]
    only: list[VariantName] | None = Field(description="these variants and the baseline; null: all")
    seeds: Annotated[list[Count], Field(min_length=1)]
    jobs: PositiveInt | None = Field(
        description="runs at the same time; null: one per GPU, or as many as cores and memory allow"
    )
    budget: BudgetConfig
    timing_steps: PositiveInt = Field(description="of the short timing of each variant")
    confidence: float = Field(gt=0, lt=1, description="of the intervals")
    resamples: PositiveInt = Field(description="of the images, for intervals and p-values")

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        for name in [self.baseline, *(self.only or [])]:
            if name not in self.variants:
                raise ValueError(f"no variant {name}; there are {', '.join(self.variants)}")
        if len({name.casefold() for name in self.variants}) < len(self.variants):
            raise ValueError("variants' names are folders, and must differ by more than their case")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds are repeated: {self.seeds}")
        if self.budget.halving and len(self.seeds) < 2:
            raise ValueError("budget.halving=true needs two seeds or more")
        return self


class AblationConfig(TrainingConfig):
    """Every variant of a study with every seed, and their table, whatever is trained.

    The rest is the training config that the variants change.
    """

    study: StudyConfig
    out: str = Field(min_length=1, description="folder of studies and of the runs they share")
    dry_run: bool = Field(description="only time the variants, and tell what the study would cost")


class AblateConfig(AblationConfig, TrainConfig):
    """`scripts/ablate.py`: a study of networks for poses."""


class AblateDetectorConfig(AblationConfig, TrainDetectorConfig):
    """`scripts/ablate_detector.py`: a study of person detectors."""


NO_BUDGET = BudgetConfig(steps=None, minutes=None, halving=False)


class CollectConfig(Strict):
    """`scripts/collect.py`: the table of a study for runs that are trained already."""

    runs: Annotated[list[str], Field(min_length=1)] = Field(
        description="folders of runs, or patterns such as runs/cpn_*"
    )
    baseline: str | None = Field(description="name of a variant; null: the first run's")
    name: StudyFolder = Field(description="of the study's folder in `out`, not trainings")
    title: str = Field(min_length=1, description="heads the table")
    out: str = Field(min_length=1, description="folder of studies")
    jobs: PositiveInt | None = Field(
        description="evaluations at the same time; null: one per GPU, or one per core"
    )
    timing_steps: PositiveInt = Field(description="of the short timing of each variant")
    confidence: float = Field(gt=0, lt=1, description="of the intervals")
    resamples: PositiveInt = Field(description="of the images, for intervals and p-values")
