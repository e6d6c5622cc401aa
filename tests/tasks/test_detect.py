import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from cpn.config.detection_schema import DetectConfig, TrainDetectorConfig
from cpn.data.annotated_photos import read_annotated_photos
from cpn.detection.detections import Detections, as_detections
from cpn.engine.distributed import DistributedContext
from cpn.errors import UserError
from cpn.evaluation import BOX_METRICS
from cpn.prediction.person_detector import SoftSuppression, TrainedDetector
from cpn.tasks.detect import detect
from cpn.tasks.evaluation.detection_evaluation import DetectionSet, to_records
from cpn.tasks.train_detector import train_detector
from tests.conftest import TinyCoco

Make = Callable[..., TrainDetectorConfig]


@pytest.fixture
def checkpoint(tiny_detector: Make, tmp_path: Path) -> Path:
    train_detector(tiny_detector("engine.epochs=1"))
    return tmp_path / "runs" / "detector" / "model.safetensors"


def _config(checkpoint: Path, data: TinyCoco, out: Path, **changes: Any) -> DetectConfig:
    values: dict[str, Any] = {
        "checkpoint": str(checkpoint),
        "annotations": str(data.annotations),
        "images": str(data.images),
        "limit": None,
        "out": str(out),
        "inference": dict.fromkeys(("min_size", "max_size", "score_threshold", "max_people")),
        "nms": {"method": "hard", "threshold": None, "sigma": 0.5, "floor": 0.001},
        "max_megapixels": 50,
        "batch_size": 3,
        "workers": 0,
        "device": "cpu",
        "precision": "fp32",
    }
    return DetectConfig(**{**values, **changes})


def test_every_photo_is_searched_and_scored(
    checkpoint: Path, tiny_coco: TinyCoco, tmp_path: Path
) -> None:
    out = tmp_path / "found.json"
    metrics = detect(_config(checkpoint, tiny_coco, out))
    assert tuple(metrics) == BOX_METRICS
    records = json.loads(out.read_text())
    assert {record["image_id"] for record in records} == {1, 2, 3, 4}
    assert all(record["category_id"] == 1 for record in records)
    for record in records:
        x, y, width, height = record["bbox"]
        assert min(x, y) >= 0
        assert x + width <= 64.001
        assert y + height <= 48.001


def test_what_is_found_does_not_depend_on_the_batch(
    checkpoint: Path, tiny_coco: TinyCoco, tmp_path: Path
) -> None:
    outs = [tmp_path / f"{size}.json" for size in (1, 4)]
    for out, size in zip(outs, (1, 4), strict=True):
        detect(_config(checkpoint, tiny_coco, out, batch_size=size))
    alone, together = (json.loads(out.read_text()) for out in outs)
    assert len(alone) == len(together)
    for one, other in zip(alone, together, strict=True):
        assert one["bbox"] == pytest.approx(other["bbox"], abs=1e-3)


def test_a_limit_counts_photos_and_scores_these(
    checkpoint: Path, tiny_coco: TinyCoco, tmp_path: Path
) -> None:
    out = tmp_path / "found.json"
    inference = {"min_size": 32, "max_size": 40, "score_threshold": 0.0, "max_people": 3}
    detect(_config(checkpoint, tiny_coco, out, limit=2, inference=inference))
    records = json.loads(out.read_text())
    assert {record["image_id"] for record in records} == {1, 2}
    assert len(records) == 6


def test_soft_suppression_keeps_what_hard_suppression_drops(
    checkpoint: Path, tiny_coco: TinyCoco, tmp_path: Path
) -> None:
    soft = {"method": "soft", "threshold": None, "sigma": 0.5, "floor": 0.0}
    outs = {name: tmp_path / f"{name}.json" for name in ("hard", "soft")}
    detect(_config(checkpoint, tiny_coco, outs["hard"]))
    detect(_config(checkpoint, tiny_coco, outs["soft"], nms=soft))
    found = {name: json.loads(out.read_text()) for name, out in outs.items()}
    assert len(found["soft"]) > len(found["hard"])
    first = [record["score"] for record in found["soft"] if record["image_id"] == 1]
    assert first == sorted(first, reverse=True)


def test_soft_suppression_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = Detections(np.array([[0.0, 0, 10, 10], [0, 0, 10, 5]]), np.array([0.9, 0.8]))
    monkeypatch.setattr("cpn.prediction.person_detector.find_people", lambda *_, **__: [twice])
    detector = TrainedDetector(None, None, None, 5, SoftSuppression(sigma=0.5))  # type: ignore[arg-type]
    (found,) = detector([np.zeros((1, 1, 3), np.uint8)])
    # the IoU is 0.5: 0.8 * exp(-0.25 / 0.5)
    assert found.scores.tolist() == pytest.approx([0.9, 0.8 * np.exp(-0.5)])


def test_boxes_that_are_not_finite_are_refused() -> None:
    diverged = Detections(np.array([[0, 0, np.nan, 1]]), np.array([0.5]))
    with pytest.raises(UserError, match=r"image 7: .* not finite"):
        to_records(7, diverged, 1)


class _OfTwo(DistributedContext):
    """Rank 0 of two, of which the other one's detector has diverged."""

    def all_gather_object(self, value: Any) -> list[Any]:
        return [value, ([], "image 9: not finite") if isinstance(value, tuple) else value]

    def any(self, flags: Tensor) -> Tensor:
        return flags


def test_what_goes_wrong_on_one_rank_ends_all(tiny_coco: TinyCoco) -> None:
    photos = read_annotated_photos(tiny_coco.annotations, tiny_coco.images)
    known = DetectionSet.create(photos, DistributedContext(), batch_size=4, workers=0)
    nobody = as_detections([])
    with pytest.raises(UserError, match="image 9: not finite"):
        known.evaluate(lambda images: [nobody] * len(images), _OfTwo())


def test_the_photos_after_one_that_goes_wrong_are_searched_too(tiny_coco: TinyCoco) -> None:
    photos = read_annotated_photos(tiny_coco.annotations, tiny_coco.images)
    known = DetectionSet.create(photos, DistributedContext(), batch_size=1, workers=0)
    searched: list[int] = []

    def diverge(images: Sequence[Any]) -> list[Detections]:
        searched.append(len(images))
        return [as_detections([[0, 0, np.nan, 1]])]

    with pytest.raises(UserError, match=r"image 1: .* not finite"):
        known.evaluate(diverge, DistributedContext())
    assert searched == [1, 1, 1, 1]  # other ranks would wait for this one's vote


def test_nobody_is_in_a_photo_that_is_too_thin(checkpoint: Path) -> None:
    detector = TrainedDetector.from_checkpoint(checkpoint, device="cpu")  # max_size is 64
    photos = [np.zeros(size, np.uint8) for size in ((1, 65, 3), (48, 64, 3), (200, 3, 3))]
    thin, usual, high = detector(photos)
    assert thin.boxes_xyxy.shape == high.boxes_xyxy.shape == (0, 4)
    assert len(usual.scores)
    detector([np.zeros((1, 64, 3), np.uint8)])


def test_an_image_of_another_kind_is_refused(checkpoint: Path) -> None:
    detector = TrainedDetector.from_checkpoint(checkpoint, device="cpu")
    with pytest.raises(ValueError, match=r"must be \(H, W, 3\) uint8"):
        detector([np.zeros((4, 4, 3), np.float32)])
    assert detector([]) == []
