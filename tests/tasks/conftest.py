"""A run so small that it takes a second."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from cpn.build import build_model, save_model
from cpn.command_line.composed import validate
from cpn.config.detection_schema import TrainDetectorConfig
from cpn.config.predict_schema import PredictConfig
from cpn.config.schema import TrainConfig
from cpn.skeleton import COCO_17
from tests.conftest import with_exif_orientation
from tests.tasks.ablation.studies import Started, starter
from tests.tasks.predictions import MakePredictConfig, PretendedDetector

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
def tiny_detector_overrides(tiny_coco: Any, tmp_path: Path) -> list[str]:
    """A RetinaNet so narrow that an epoch takes a second."""
    return [
        *(f"data.{split}.annotations={tiny_coco.annotations}" for split in ("train", "val")),
        *(f"data.{split}.images={tiny_coco.images}" for split in ("train", "val")),
        *("recipe=retinanet_demo", "backbone.width=0.125", "detector.pyramid.channels=8"),
        *("photo.height=64", "photo.width=64", "detector.min_size=48", "detector.max_size=64"),
        "detector.score_threshold=0.0",
        *("engine.epochs=2", "engine.batch_size=2", "engine.log_every=1", "engine.device=cpu"),
        *("schedule.warmup_epochs=0", f"run.root={tmp_path / 'runs'}", "run.name=detector"),
    ]


@pytest.fixture
def tiny_detector(tiny_detector_overrides: list[str]) -> Callable[..., TrainDetectorConfig]:
    """`tiny_detector("engine.epochs=3")`: the config of `tiny_detector_overrides` and more."""

    def make(*more: str) -> TrainDetectorConfig:
        if not any(override.startswith("network=") for override in more):
            more = (
                "detector.retinanet.candidates_per_level=20",
                "detector.retinanet.norm=none",
                *more,
            )
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            composed = compose("train_detector", overrides=[*tiny_detector_overrides, *more])
        return validate(composed, TrainDetectorConfig)

    return make


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Started:
    """Studies whose trainings are made up, see `tests.tasks.ablation.studies`."""
    return starter(tmp_path, monkeypatch)


@pytest.fixture
def sideways(tmp_path: Path) -> Path:
    """A photo that is stored lying (64 x 48) and shown standing (48 x 64), its left edge white."""
    stored = np.zeros((48, 64, 3), np.uint8)
    stored[-16:] = 255  # EXIF orientation 6: turn clockwise, so the bottom becomes the left
    path = tmp_path / "photos" / "phone.jpg"
    path.parent.mkdir()
    assert cv2.imwrite(str(path), stored)
    path.write_bytes(with_exif_orientation(path.read_bytes(), 6))
    return path


@pytest.fixture
def make_checkpoint(tiny_config: MakeConfig, tmp_path: Path) -> Callable[..., Path]:
    """`make_checkpoint("postprocess=none")`: a model file of a network that has learnt nothing."""

    def make(*overrides: str) -> Path:
        config = tiny_config(*overrides)
        torch.manual_seed(0)
        model = build_model(config, num_keypoints=17, weights="none")
        path = tmp_path / "model" / "model.safetensors"
        path.parent.mkdir()
        save_model(path, model, config=config, skeleton=COCO_17, metrics={})
        return path

    return make


@pytest.fixture
def checkpoint(make_checkpoint: Callable[..., Path]) -> Path:
    """That of the tiny configuration."""
    return make_checkpoint()


@pytest.fixture
def predict_config(checkpoint: Path) -> MakePredictConfig:
    """`predict_config(source, draw=False)` is configs/predict.yaml so changed, on the CPU."""

    def make(source: Path | str, *overrides: str, **changes: Any) -> PredictConfig:
        given = {"batch_size": 2, "device": "cpu", "out": str(checkpoint.parent / "out"), **changes}
        values = {"checkpoint": str(checkpoint), "source": str(source), **given}
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            composed = compose("predict", list(overrides))
        for name, value in values.items():
            composed[name] = str(value) if isinstance(value, Path) else value
        return validate(composed, PredictConfig)

    return make


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> PretendedDetector:
    """`detector=any.safetensors` gives this one; it keeps the arguments it was made with."""
    detector = PretendedDetector()

    def load(path: str, **options: Any) -> PretendedDetector:
        detector.__dict__["made"] = (path, options)
        return detector

    monkeypatch.setattr("cpn.tasks.predict.TrainedDetector.from_checkpoint", load)
    return detector
