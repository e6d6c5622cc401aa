"""What the demo's page is built of."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cpn.config.demo_schema import DemoConfig
from cpn.errors import UserError
from cpn.tasks.demo import build_demo, demo
from tests.demo.cases import FixedDetector, file_of, photo, write_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model") / "model.safetensors")


def demo_config(checkpoint: Path, **changes: Any) -> DemoConfig:
    values = {
        "checkpoint": str(checkpoint),
        "detector": None,
        "detector_threshold": None,
        "max_people": 3,
        "keypoint_threshold": 0.3,
        "port": 0,
        "max_upload_mib": 2,
        "max_megapixels": 1,
        "precision": "auto",
        "device": "cpu",
    }
    return DemoConfig(**{**values, **changes})


def test_without_a_detector(checkpoint: Path) -> None:
    analyst, facts = build_demo(demo_config(checkpoint))
    assert len(analyst(file_of(photo())).people) == 1
    assert not facts.has_detector
    assert facts.max_upload_bytes == 2 * 1024 * 1024
    told = dict(facts.model)
    assert told["Network"] == "resnet10, levels P5, P4, P3, P2, RefineNet"
    assert told["Input"] == "64 x 64 pixels per person"
    assert told["AP when it was trained"] == "0.250"
    assert told["Person detector"] == "none: the whole photo is one person"


def test_the_detector_gets_its_settings(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def from_checkpoint(path: str, **settings: Any) -> FixedDetector:
        asked.update(settings, path=path)
        return FixedDetector([0, 0, 30, 60], [40, 0, 80, 60])

    fake = SimpleNamespace(from_checkpoint=from_checkpoint)
    monkeypatch.setattr("cpn.tasks.demo.TrainedDetector", fake)
    config = demo_config(checkpoint, detector="people.safetensors", detector_threshold=0.4)
    analyst, facts = build_demo(config)
    device = torch.device("cpu")
    asked_for = {"device": device, "precision": "fp32", "score_threshold": 0.4, "max_people": 3}
    assert asked == {"path": "people.safetensors", **asked_for}
    assert facts.has_detector
    assert len(analyst(file_of(photo())).people) == 2


def test_no_checkpoint_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        demo(demo_config(tmp_path / "none.safetensors"))


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "text.safetensors"
    path.write_text("text")
    with pytest.raises(UserError, match=r"text\.safetensors"):
        demo(demo_config(path))
