import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

from cpn.config.model_card_schema import ModelCardConfig
from cpn.config.schema import TrainConfig
from cpn.errors import UserError
from cpn.tasks.model_card import write_model_card
from cpn.tasks.train import train

EVALUATION = {
    "AP": 0.51234,
    "APM": None,
    "PCK": 0.8,
    "boxes": "ground truth",
    "analysis": {"intervals": {"AP": [0.4, 0.6]}, "keypoints": {"nose": {"AP": 0.25}}},
}


def card(checkpoint: Path, **changes: Any) -> str:
    values = {"evaluation": None, "name": None, "licence": None, "out": None, **changes}
    return write_model_card(ModelCardConfig(checkpoint=str(checkpoint), **values)).read_text()


def header(text: str) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return parsed


def test_the_card_says_what_the_file_holds(checkpoint: Path) -> None:
    text = card(checkpoint, name="Tiny", licence="apache-2.0")
    assert "\n# Tiny\n" in text
    assert header(text)["license"] == "apache-2.0"
    assert "model-index" not in header(text)
    assert f"SHA-256 `{sha256(checkpoint.read_bytes()).hexdigest()}`" in text
    assert "| input | 64 x 64 (height x width), RGB |" in text
    assert "| pyramid | P2, P3, P4, P5, 8 channels |" in text
    assert "| begins from | random weights |" in text
    assert "| 5 | left_shoulder | right_shoulder | 0.079 |" in text
    assert "never evaluated" in text
    assert str(checkpoint.parent) not in text
    assert checkpoint.with_suffix(".md").is_file()


def test_an_evaluation_gives_intervals_and_keypoints(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(EVALUATION))
    text = card(checkpoint, evaluation=str(path), out=str(tmp_path / "card.md"))
    assert "| AP | 0.5123 | 0.4000 to 0.6000 |" in text
    assert "| PCK | 0.8000 | - |" in text
    assert "APM" not in text
    assert "| 0 | nose | - | 0.026 | 0.250 |" in text
    assert "| 1 | left_eye | right_eye | 0.025 | - |" in text
    (results,) = header(text)["model-index"][0]["results"]
    assert results["metrics"] == [{"type": "AP", "value": 0.5123}, {"type": "PCK", "value": 0.8}]


def test_a_training_has_its_own_numbers(tiny_config: Callable[..., TrainConfig]) -> None:
    train(tiny_config("engine.epochs=1"))
    run = tiny_config().run
    text = card(Path(run.root) / run.name / "model.safetensors")
    assert "Of the training's own evaluation" in text
    assert "| AP | 0.0000 |" in text
    assert "APM" not in text  # nobody is of that size


@pytest.mark.parametrize(
    "content", ["[]", "{}", "no", '{"boxes": 3}', '{"boxes": "b", "AP": "high"}']
)
def test_what_is_no_metrics_file_is_told(checkpoint: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"evaluation=.*: not a metrics file of scripts/evaluate"):
        card(checkpoint, evaluation=str(path))
    assert not checkpoint.with_suffix(".md").exists()
