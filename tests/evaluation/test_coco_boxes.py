import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest

from cpn.errors import UserError
from cpn.evaluation import BOX_METRICS, evaluate_boxes

Document = dict[str, Any]
Results = list[dict[str, Any]]


@pytest.fixture
def detections(document: Document) -> Results:
    return [
        {
            "image_id": annotation["image_id"],
            "category_id": 1,
            "bbox": list(annotation["bbox"]),
            "score": 0.5,
        }
        for annotation in document["annotations"]
    ]


def test_perfect_boxes(document: Document, detections: Results, tmp_path: Path) -> None:
    path = tmp_path / "detections.json"
    path.write_text(json.dumps(detections))
    metrics = evaluate_boxes(document, path)
    assert tuple(metrics) == BOX_METRICS
    assert metrics["AP"] == 1.0
    assert metrics["AR1"] == pytest.approx(2 / 4)  # one box an image; the crowd is ignored
    assert math.isnan(metrics["APS"])


def test_iou_decides(document: Document, detections: Results) -> None:
    for detection in detections:
        detection["bbox"][2] = 72.0  # IoU 0.72: correct at 0.5 .. 0.7, that is 5 of 10
    metrics = evaluate_boxes(document, detections)
    assert metrics["AP"] == pytest.approx(0.5)
    assert metrics["AP50"] == 1.0
    assert metrics["AP75"] == 0.0


def test_persons_without_keypoints_count_as_boxes(document: Document, detections: Results) -> None:
    found = [detection for detection in detections if detection["bbox"][0] != 400.0]
    assert evaluate_boxes(document, found)["AR100"] == pytest.approx(3 / 4)


def test_other_categories_and_images_are_left_out(document: Document, detections: Results) -> None:
    wrong = [detection | {"category_id": 3, "score": 0.9} for detection in detections]
    for detection in wrong:
        detection["bbox"] = [0.0, 300.0, 50.0, 50.0]
    assert evaluate_boxes(document, wrong + detections)["AP"] == 1.0
    assert evaluate_boxes(document, detections, image_ids=[7])["AP"] == 1.0


def test_no_person_detection_is_zero_with_a_warning(
    document: Document, detections: Results, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        metrics = evaluate_boxes(document, [detections[0] | {"category_id": 3}])
    assert metrics["AP"] == 0.0
    assert "none of the 1 detections has the person category 1" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": math.nan}, r"detections: at \[1\]\.score \(image_id 7\): not a finite number"),
        ({"bbox": [1.0, 2.0, -3.0, 3.0]}, r"record 1 \(image 7\): bbox .* no size below 0"),
        ({"bbox": [1.0, 2.0, math.inf, 3.0]}, r"at \[1\]\.bbox\[2\] .*: not a finite number"),
        ({"bbox": [1.0, 2.0, 3.0]}, r"at \[1\]\.bbox .*: Expected `array` of length 4"),
        ({"image_id": 8}, r"detections: image ids not in annotations: 1 \(8\)"),
        ({"score": "1"}, r"detections: at \[1\]\.score \(image_id 7\): Expected `float`.*'1'"),
    ],
)
def test_bad_detections_are_refused(
    document: Document, detections: Results, change: dict[str, Any], message: str
) -> None:
    detections[1] |= change
    with pytest.raises(UserError, match=message):
        evaluate_boxes(document, detections)
