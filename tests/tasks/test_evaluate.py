"""Evaluation from a checkpoint and from a results file."""

import codecs
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hydra import compose, initialize_config_dir

from cpn.command_line.composed import validate
from cpn.config.evaluation_schema import (
    DecodeOverrides,
    EvaluateConfig,
    FinalEvaluationConfig,
    PostprocessOverrides,
)
from cpn.config.schema import DetectionsConfig, TrainConfig
from cpn.detection.detections import Detections
from cpn.errors import UserError
from cpn.evaluation import COCO_METRICS
from cpn.prediction.estimator import PoseEstimator
from cpn.prediction.person_detector import TrainedDetector
from cpn.tasks.evaluate import evaluate
from cpn.tasks.evaluation.output import format_metrics
from cpn.tasks.evaluation.pose_evaluation import PoseScorer, RankEvaluation
from cpn.tasks.train import train

MakeConfig = Callable[..., TrainConfig]
CONFIGS = Path(__file__).parents[2] / "configs"
GOLDEN = Path(__file__).parents[1] / "golden" / "evaluation"


def evaluate_config(**changes: Any) -> EvaluateConfig:
    """The defaults of configs/evaluate.yaml."""
    values: dict[str, Any] = {
        **dict.fromkeys(("checkpoint", "results", "annotations", "images", "limit")),
        **dict.fromkeys(("out", "group_by", "sigmas", "rescaling", "detector")),
        "evaluation": FinalEvaluationConfig(
            engine="hotcoco", resamples=20, confidence=0.95, report=False
        ),
        "decode": DecodeOverrides(),
        "postprocess": PostprocessOverrides(),
        "boxes": "ground_truth",
        "detections": DetectionsConfig(file=None, score_threshold=0.0),
        "batch_size": 4,
        "part_batches": 1,
        "workers": 0,
        "device": "cpu",
        "precision": "fp32",
    }
    return EvaluateConfig(**{**values, **changes})


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
    assert written["boxes"] == str(boxes)


class _KnowsTheBoxes:
    """A detector that finds the person on the left of every photo, and nobody else."""

    def __call__(self, images_rgb: Sequence[npt.NDArray[np.uint8]]) -> list[Detections]:
        left = Detections(np.array([[4.0, 4, 30, 44]]), np.array([0.8]))
        return [left for _ in images_rgb]


def test_a_detector_of_ours_gives_the_boxes(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainedDetector, "from_checkpoint", lambda *_, **__: _KnowsTheBoxes())
    asked = evaluate_config(checkpoint=str(checkpoint), boxes="detector", detector="d.safetensors")
    evaluate(asked)
    written = json.loads((checkpoint.parent / "metrics.json").read_text())
    file = checkpoint.parent / "metrics_detections.json"
    assert written["boxes"] == str(file)
    # Ids 2, 4 and 6 are on the left; in image 1 the box is on nobody.
    assert [record["image_id"] for record in json.loads(file.read_text())] == [1, 2, 3, 4]
    assert written["AR(H)"] == pytest.approx(3 / 6)
    results = json.loads((checkpoint.parent / "metrics_results.json").read_text())
    assert len(results) == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"boxes": "detector"},
        {"detector": "d.safetensors"},
        {"boxes": "detector", "detector": "d.safetensors", "limit": 3},
    ],
)
def test_a_detector_goes_with_its_boxes_and_with_everybody(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"boxes=detector|detector=d\.safetensors"):
        evaluate_config(checkpoint="c.safetensors", **changes)


def test_the_detector_is_scored_by_the_boxes_that_are_used(
    checkpoint: Path, tmp_path: Path, tiny_coco: Any
) -> None:
    detections = [
        {"image_id": p["image_id"], "category_id": 1, "bbox": p["bbox"], "score": score}
        for p, score in zip(
            tiny_coco.read()["annotations"], (0.9, 0.9, 0.9, 0.1, 0.1, 0.1), strict=True
        )
    ]
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps(detections))
    used = DetectionsConfig(file=str(boxes), score_threshold=0.5)
    evaluate(evaluate_config(checkpoint=str(checkpoint), boxes="detections", detections=used))
    written = json.loads((checkpoint.parent / "metrics.json").read_text())
    assert written["AP(H)"] == pytest.approx(0.5, abs=0.01)
    assert written["AP50(H)"] == pytest.approx(0.5, abs=0.01)
    assert written["AR(H)"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("options", "count", "precision"),
    [
        ({}, 12, 1.0),
        ({"nms": "hard"}, 6, 1.0),
        ({"nms": "hard", "nms_threshold": 0.99}, 12, 1.0),
        ({"nms": "soft_linear"}, 12, 1.0),
        ({"nms": "soft_linear", "nms_threshold": 0.99}, 12, 1.0),
        ({"nms": "soft", "nms_floor": 0.2}, 6, 1.0),
        ({"nms": "soft", "nms_floor": 0.2, "nms_sigma": 100.0}, 12, 1.0),
    ],
)
def test_repeated_boxes_are_cropped_once(
    checkpoint: Path, tmp_path: Path, tiny_coco: Any, options: Any, count: int, precision: float
) -> None:
    detections = []
    for person in tiny_coco.read()["annotations"]:
        x, y, width, height = person["bbox"]
        for shift, score in ((0.0, 0.9), (1.0, 0.8)):  # IoU 25/27
            box = [x + shift, y, width, height]
            detections.append(
                {"image_id": person["image_id"], "category_id": 1, "bbox": box, "score": score}
            )
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps(detections))
    used = DetectionsConfig(file=str(boxes), score_threshold=0.0, **options)
    changes = {"boxes": "detections", "postprocess": PostprocessOverrides(nms="none")}
    assert num_results(checkpoint, **changes, detections=used) == count
    written = json.loads((checkpoint.parent / "metrics.json").read_text())
    assert written["AP(H)"] == pytest.approx(precision)


def num_results(checkpoint: Path, **changes: Any) -> int:
    evaluate(evaluate_config(checkpoint=str(checkpoint), **changes))
    return len(json.loads((checkpoint.parent / "metrics_results.json").read_text()))


def test_the_limit_of_a_checkpoint_is_of_its_own_file(
    tiny_config: MakeConfig, tiny_coco: Any, tmp_path: Path
) -> None:
    train(tiny_config("engine.epochs=1", "data.val.limit=2"))
    path = tmp_path / "runs" / "tiny" / "model.safetensors"
    other = tmp_path / "other.json"
    other.write_text(tiny_coco.annotations.read_text())
    assert num_results(path) == 2
    assert num_results(path, annotations=str(other)) == 6
    assert num_results(path, annotations=str(other), limit=3) == 3
    detections = DetectionsConfig(file=str(tmp_path / "boxes.json"), score_threshold=0.0)
    with pytest.raises(UserError, match=r"boxes=detections .* checkpoint's data.val.limit=2"):
        num_results(path, boxes="detections", detections=detections)


def test_a_limit_does_not_go_with_detections(tiny_config: MakeConfig) -> None:
    detections = DetectionsConfig(file="boxes.json", score_threshold=0.0)
    with pytest.raises(ValueError, match="limit=3 with boxes=detections"):
        evaluate_config(checkpoint="x", boxes="detections", detections=detections, limit=3)
    with pytest.raises(UserError, match=r"data\.val\.limit=3 with boxes=detections"):
        tiny_config("boxes=detections", "detections.file=boxes.json", "data.val.limit=3")


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (lambda names: [names[0], names[2], names[1], *names[3:]], "keypoint 2 is 'right_eye'"),
        (lambda names: names[:-1], "keypoint 17 is 'no more', but 'right_ankle'"),
        (lambda names: [*names, "tail"], "keypoint 18 is 'tail', but 'no more'"),
    ],
)
def test_other_keypoints_than_the_models_are_refused(
    checkpoint: Path, tiny_coco: Any, change: Callable[[list[str]], list[str]], difference: str
) -> None:
    document = tiny_coco.read()
    category = document["categories"][0]
    category["keypoints"] = change(category["keypoints"])
    for person in document["annotations"]:
        person["keypoints"] = (person["keypoints"] + [0, 0, 0])[: 3 * len(category["keypoints"])]
    tiny_coco.write(document)
    with pytest.raises(UserError, match=f"tiny.json: {difference}"):
        evaluate(evaluate_config(checkpoint=str(checkpoint)))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"group_by": "source", "limit": 2}, "limit, group_by"),
        ({"decode": DecodeOverrides(flip_test=False)}, "decode.flip_test"),
        ({"rescaling": "x"}, "rescaling"),
        ({"postprocess": PostprocessOverrides(nms="oks")}, "postprocess.nms"),
        (
            {
                "boxes": "detections",
                "detections": DetectionsConfig(file="boxes.json", score_threshold=0.0),
            },
            "boxes, detections",
        ),
    ],
)
def test_a_results_file_takes_no_keys_of_a_checkpoint(changes: Any, named: str) -> None:
    with pytest.raises(ValueError, match=f"leave out {named}, or give checkpoint"):
        evaluate_config(results="x.json", annotations="y.json", **changes)


def test_a_checkpoint_takes_no_sigmas() -> None:
    with pytest.raises(ValueError, match=r"sigmas goes with results=\.\.\. only"):
        evaluate_config(checkpoint="x", sigmas=[0.1])


@pytest.mark.parametrize(
    ("override", "decode"),
    [
        ("decode.flip_test=false", DecodeOverrides(flip_test=False)),
        (
            "decode=dark",
            DecodeOverrides(method="dark", blur_kernel=0, flip_test=True, flip_shift=False),
        ),
    ],
)
def test_decoding_is_overridden_by_key_or_by_group(override: str, decode: DecodeOverrides) -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = compose("evaluate", ["checkpoint=x", override])
    assert validate(composed, EvaluateConfig).decode == decode


def test_what_is_not_overridden_is_as_trained(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def watch(
        estimator: PoseEstimator, _: Any, scorer: PoseScorer, *rest: Any, **options: Any
    ) -> RankEvaluation:
        seen.append((estimator.decode, scorer.postprocess))
        return RankEvaluation({}, None)

    monkeypatch.setattr("cpn.tasks.evaluate.evaluate_poses", watch)
    evaluate(evaluate_config(checkpoint=str(checkpoint)))
    changes = {
        "decode": DecodeOverrides(flip_test=False),
        "postprocess": PostprocessOverrides(nms="none"),
    }
    evaluate(evaluate_config(checkpoint=str(checkpoint), **changes))
    (decode, postprocess), changed = seen
    assert decode.flip_test
    assert postprocess.nms == "oks"
    assert changed == (
        decode.model_copy(update={"flip_test": False}),
        postprocess.model_copy(update={"nms": "none"}),
    )


def test_numbers_by_an_image_field(
    checkpoint: Path,
    tiny_coco: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    document = tiny_coco.read()
    for image in document["images"]:
        image["source"] = "odd" if image["id"] % 2 else "even"
    tiny_coco.write(document)
    marked = codecs.BOM_UTF8 + tiny_coco.annotations.read_bytes()
    tiny_coco.annotations.write_bytes(marked)
    with caplog.at_level("INFO"):
        evaluate(evaluate_config(checkpoint=str(checkpoint), group_by="source"))
    assert "source=even" in caplog.text
    assert "source=odd" in caplog.text
    written = json.loads((checkpoint.parent / "metrics.json").read_text())
    assert written["boxes"] == "ground truth"
    assert written["group_by"] == "source"
    assert list(written["groups"]) == ["even", "odd"]
    assert set(written["groups"]["even"]) == {*COCO_METRICS, "PCK", "PCK-AUC"}
    monkeypatch.setattr("cpn.tasks.evaluate.evaluate_poses", None)  # it must not come to that
    with pytest.raises(UserError, match="group_by=colour: the images have no such field"):
        evaluate(evaluate_config(checkpoint=str(checkpoint), group_by="colour"))


def test_scores_are_rescaled_to_the_oks_to_be_expected(checkpoint: Path, tmp_path: Path) -> None:
    before = evaluate(evaluate_config(checkpoint=str(checkpoint)))
    file = checkpoint.parent / "metrics_rescaling.json"
    written = json.loads((checkpoint.parent / "metrics.json").read_text())["calibration"]
    assert written["poses"] > 0
    out = tmp_path / "rescaled.json"
    config = evaluate_config(checkpoint=str(checkpoint), rescaling=str(file), out=str(out))
    assert evaluate(config) == pytest.approx(before, nan_ok=True, abs=1e-12)
    after = json.loads(out.read_text())["calibration"]
    assert after["expected_calibration_error"] < min(0.005, written["expected_calibration_error"])
    assert not out.with_name("rescaled_rescaling.json").exists()
    other = {"postprocess": PostprocessOverrides(score="box")}
    with pytest.raises(UserError, match=r"fitted to postprocess\.score=box_keypoint, not to box"):
        evaluate(evaluate_config(checkpoint=str(checkpoint), rescaling=str(file), **other))


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
    numbers = [metrics[name] for name in COCO_METRICS]
    assert numbers == pytest.approx(expected["stats"], abs=1e-9)
    assert metrics["calibration"]["poses"] > 0


def test_metrics_without_ground_truth_are_dashes() -> None:
    assert format_metrics({"AP": 0.5, "APL": float("nan")}).splitlines() == [
        "     AP    APL",
        " 0.5000      -",
    ]
