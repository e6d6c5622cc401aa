"""Evaluation from a checkpoint and from a results file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cpn.config.schema import DetectionsConfig, EvaluateConfig, TrainConfig
from cpn.errors import UserError
from cpn.tasks.evaluate import evaluate, format_metrics
from cpn.tasks.train import train

MakeConfig = Callable[..., TrainConfig]
GOLDEN = Path(__file__).parents[1] / "golden" / "evaluation"


def evaluate_config(**changes: Any) -> EvaluateConfig:
    """The defaults of configs/evaluate.yaml."""
    values: dict[str, Any] = {
        **dict.fromkeys(("checkpoint", "results", "annotations", "images", "limit")),
        **dict.fromkeys(("out", "group_by", "sigmas", "decode", "postprocess")),
        "boxes": "ground_truth",
        "detections": DetectionsConfig(file=None, score_threshold=0.0),
        "batch_size": 4,
        "workers": 0,
        "device": "cpu",
        "precision": "fp32",
    }
    return EvaluateConfig(**{**values, **changes})


@pytest.fixture
def checkpoint(tiny_config: MakeConfig, tmp_path: Path) -> Path:
    train(tiny_config("engine.epochs=1"))
    return tmp_path / "runs" / "tiny" / "model.safetensors"


def test_a_checkpoint_scores_as_during_training(tiny_config: MakeConfig, tmp_path: Path) -> None:
    during = train(tiny_config("engine.epochs=1"))
    path = tmp_path / "runs" / "tiny" / "model.safetensors"
    after = evaluate(evaluate_config(checkpoint=str(path)))
    assert after == pytest.approx(during, nan_ok=True, abs=1e-6)
    written = json.loads((path.parent / "metrics.json").read_text())
    assert written["PCK"] == pytest.approx(after["PCK"])
    results = json.loads((path.parent / "metrics_results.json").read_text())
    assert sorted({record["image_id"] for record in results}) == [1, 2, 3, 4]
    rescored = evaluate(
        evaluate_config(
            results=str(path.parent / "metrics_results.json"),
            annotations=str(tmp_path / "annotations" / "tiny.json"),
            out=str(tmp_path / "again.json"),
        )
    )
    assert rescored["AP"] == pytest.approx(after["AP"], abs=1e-12)


def test_detections_report_the_detector(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    boxes = tmp_path / "boxes.json"
    people = json.loads((tmp_path / "annotations" / "tiny.json").read_text())["annotations"]
    detections = [
        {"image_id": p["image_id"], "category_id": 1, "bbox": p["bbox"], "score": 0.9}
        for p in people
    ]
    boxes.write_text(json.dumps(detections))
    with caplog.at_level("INFO"):
        evaluate(
            evaluate_config(
                checkpoint=str(checkpoint),
                boxes="detections",
                detections=DetectionsConfig(file=str(boxes), score_threshold=0.0),
            )
        )
    assert f"boxes: {boxes}" in caplog.text
    written = json.loads((checkpoint.parent / "metrics.json").read_text())
    assert written["AP(H)"] == pytest.approx(1.0)


def test_numbers_by_an_image_field(
    checkpoint: Path, tiny_coco: Any, caplog: pytest.LogCaptureFixture
) -> None:
    document = tiny_coco.read()
    for image in document["images"]:
        image["source"] = "odd" if image["id"] % 2 else "even"
    tiny_coco.write(document)
    with caplog.at_level("INFO"):
        evaluate(evaluate_config(checkpoint=str(checkpoint), group_by="source"))
    assert "source=even" in caplog.text
    assert "source=odd" in caplog.text
    with pytest.raises(UserError, match="group_by=colour: the images have no such field"):
        evaluate(evaluate_config(checkpoint=str(checkpoint), group_by="colour"))


def test_golden_results_file(tmp_path: Path) -> None:
    case = GOLDEN / "faster_coco_eval"
    expected = json.loads((case / "expected.json").read_text())
    out = tmp_path / "metrics.json"
    evaluate(
        evaluate_config(
            results=str(case / "dt.json"), annotations=str(case / "gt.json"), out=str(out)
        )
    )
    metrics = json.loads(out.read_text())
    assert list(metrics.values()) == pytest.approx(expected["stats"], abs=1e-9)


def test_metrics_without_ground_truth_are_dashes() -> None:
    assert format_metrics({"AP": 0.5, "APL": float("nan")}).splitlines() == [
        "     AP    APL",
        " 0.5000      -",
    ]
