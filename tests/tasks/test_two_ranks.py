"""Training and evaluation on two gloo processes: what the user gets is what one process gives."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from cpn.config.load import validate
from cpn.config.schema import EvaluateConfig, TrainConfig
from cpn.tasks.evaluate import evaluate

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def evaluate_config(*overrides: str) -> EvaluateConfig:
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        composed = compose("evaluate", overrides=[*overrides, "device=cpu", "workers=0"])
    return validate(composed, EvaluateConfig)


def start_ranks(folder: Path) -> list[str]:
    """What each rank wrote to stderr, once both are done."""
    command = [sys.executable, "-W", "error", str(HERE / "two_ranks.py"), str(folder)]
    shared = {"WORLD_SIZE": "2", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            command,
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    return errors


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

    main_log, other_log = start_ranks(tmp_path)

    reports = [json.loads((tmp_path / f"rank_{rank}.json").read_text()) for rank in range(2)]
    assert [path.name for path in run.parent.iterdir()] == ["tiny"]
    alone = evaluate(evaluate_config(checkpoint, f"out={tmp_path / 'one.json'}"))
    exactly = pytest.approx(alone, abs=1e-12, rel=0, nan_ok=True)
    for report in reports:
        assert report["train"] == exactly
        assert report["evaluate"][0] == exactly
        assert report["evaluate"][1].keys() == alone.keys()
        assert "tiny exists; use run.if_exists=resume" in report["refused"]
    results = json.loads((tmp_path / "two_results.json").read_text())
    assert sorted(result["image_id"] for result in results) == [1, 2, 3, 3, 4, 4]
    assert len(json.loads((tmp_path / "limited_results.json").read_text())) == 1
    assert main_log.count("train: 6 people") == 1
    assert other_log == ""
