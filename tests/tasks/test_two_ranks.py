"""Training and evaluation on two gloo processes: what the user gets is what one process gives."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from cpn.command_line.composed import validate
from cpn.config.evaluation_schema import EvaluateConfig
from cpn.config.schema import TrainConfig
from cpn.tasks.evaluate import evaluate
from tests.ranks import ROOT, run_ranks


def evaluate_config(*overrides: str) -> EvaluateConfig:
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        composed = compose("evaluate", overrides=[*overrides, "device=cpu", "workers=0"])
    return validate(composed, EvaluateConfig)


def test_two_ranks_train_and_evaluate_as_one(
    tiny_config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "tiny"
    config = tiny_config("engine.epochs=1", "postprocess=none", "engine.timeout_seconds=60")
    checkpoint = f"checkpoint={run / 'model.safetensors'}"
    everybody = evaluate_config(checkpoint, f"out={tmp_path / 'two.json'}")
    one_person = evaluate_config(checkpoint, f"out={tmp_path / 'limited.json'}", "limit=1")
    task: dict[str, Any] = {
        "train": config.model_dump(mode="json"),
        "evaluate": [each.model_dump(mode="json") for each in (everybody, one_person)],
    }
    (tmp_path / "task.json").write_text(json.dumps(task))

    main, other = run_ranks(Path(__file__).with_name("two_ranks.py"), tmp_path)

    assert {path.name for path in run.parent.iterdir()} == {"tiny", ".tiny.lock"}
    alone = evaluate(evaluate_config(checkpoint, f"out={tmp_path / 'one.json'}"))
    exactly = pytest.approx(alone, abs=1e-12, rel=0, nan_ok=True)
    for report in (main.report, other.report):
        assert report["train"] == exactly
        assert report["evaluate"][0] == exactly
        assert report["evaluate"][1].keys() == alone.keys()
        assert "tiny exists; use run.if_exists=resume" in report["refused"]
    results = json.loads((tmp_path / "two_results.json").read_text())
    assert sorted(result["image_id"] for result in results) == [1, 2, 3, 3, 4, 4]
    assert len(json.loads((tmp_path / "limited_results.json").read_text())) == 1
    assert main.errors.count("train: 6 people") == 1
    assert other.errors == ""
