"""A run so small that it takes a second."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from cpn.config.composed import validate
from cpn.config.detection_schema import TrainDetectorConfig
from cpn.config.schema import TrainConfig
from tests.tasks.ablation.studies import Started, starter

CONFIGS = Path(__file__).parents[2] / "configs"
MakeConfig = Callable[..., TrainConfig]


@pytest.fixture
def tiny_overrides(tiny_coco: Any, tmp_path: Path) -> list[str]:
    """A narrow network on six people at 64x64: three steps an epoch."""
    return [
        *(f"data.{split}.annotations={tiny_coco.annotations}" for split in ("train", "val")),
        *(f"data.{split}.images={tiny_coco.images}" for split in ("train", "val")),
        *("data.workers=0", "input.height=64", "input.width=64"),
        *("backbone=resnet10", "backbone.width=0.125", "model=cpn_small"),
        "model.pyramid.channels=8",
        *("engine.epochs=2", "engine.batch_size=2", "engine.log_every=1", "engine.device=cpu"),
        "schedule.warmup_epochs=0",
        *(f"run.root={tmp_path / 'runs'}", "run.name=tiny"),
    ]


@pytest.fixture
def tiny_config(tiny_overrides: list[str]) -> MakeConfig:
    """`tiny_config("engine.epochs=3")` is the config of `tiny_overrides` and more."""

    def make(*overrides: str) -> TrainConfig:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            composed = compose("train", overrides=[*tiny_overrides, *overrides])
        return validate(composed, TrainConfig)

    return make


@pytest.fixture
def tiny_detector(tiny_coco: Any, tmp_path: Path) -> Callable[..., TrainDetectorConfig]:
    """`tiny_detector("engine.epochs=3")`: a RetinaNet so narrow that an epoch takes a second."""
    overrides = [
        *(f"data.{split}.annotations={tiny_coco.annotations}" for split in ("train", "val")),
        *(f"data.{split}.images={tiny_coco.images}" for split in ("train", "val")),
        *("recipe=retinanet_demo", "backbone.width=0.125", "detector.pyramid.channels=8"),
        *("photo.height=64", "photo.width=64", "detector.min_size=48", "detector.max_size=64"),
        "detector.score_threshold=0.0",
        *("engine.epochs=2", "engine.batch_size=2", "engine.log_every=1", "engine.device=cpu"),
        *("schedule.warmup_epochs=0", f"run.root={tmp_path / 'runs'}", "run.name=detector"),
    ]

    def make(*more: str) -> TrainDetectorConfig:
        if not any(override.startswith("detector=") for override in more):
            more = (
                "detector.retinanet.candidates_per_level=20",
                "detector.retinanet.norm=none",
                *more,
            )
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            composed = compose("train_detector", overrides=[*overrides, *more])
        return validate(composed, TrainDetectorConfig)

    return make


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Started:
    """Studies whose trainings are made up, see `tests.tasks.ablation.studies`."""
    return starter(tmp_path, monkeypatch)
