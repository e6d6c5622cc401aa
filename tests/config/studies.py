"""The shipped studies, and the configs of their variants on the experiments they are meant for."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir

from cpn.command_line.composed import validate
from cpn.config.schema import TrainConfig
from cpn.config.study_schema import AblateConfig, StudyConfig

CONFIGS = Path(__file__).parents[2] / "configs"
STUDIES = sorted(file.stem for file in (CONFIGS / "study").glob("*.yaml"))
BASES: Mapping[str, tuple[str, ...]] = {
    "default": (),
    "demo": ("experiment=demo",),
    "people_imagenet": ("experiment=people_imagenet",),
    # The default's network with so few channels and pixels that it runs in milliseconds.
    "tiny": (
        *("backbone.name=resnet10", "backbone.weights=none", "backbone.width=0.125"),
        *("model.pyramid.channels=8", "input.height=64", "input.width=64"),
    ),
}
# What a person gives beside the study, as its comment asks for.
GIVEN = {"box_nms": ("boxes=detections", "detections.file=boxes.json")}


@cache
def read_study(name: str) -> StudyConfig:
    """What scripts/ablate.py gets with study=`name`."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return validate(compose("ablate", [f"study={name}"]), AblateConfig).study


@cache
def configs_of(name: str, base: str) -> Mapping[str, TrainConfig]:
    """What scripts/train.py gets for each variant of a study."""
    shared = [*BASES[base], *GIVEN.get(name, ())]
    variants = read_study(name).variants
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return {
            variant: validate(compose("train", [*shared, *row.overrides]), TrainConfig)
            for variant, row in variants.items()
        }
