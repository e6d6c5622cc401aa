import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cpn.errors import UserError
from cpn.evaluation import BOX_METRICS, evaluate_boxes
from cpn.evaluation.coco_boxes import box_statistics, match_boxes

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


def crowded(seed: int, *, images: int = 4) -> tuple[Document, Results]:
    """People of all sizes, some of them crowds; up to 14 boxes a photo, many scores equal."""
    rng = np.random.default_rng(seed)
    people: Results = []
    found: list[tuple[int, npt.NDArray[np.float64]]] = []
    for image_id in range(1, images + 1):
        for _ in range(rng.integers(0, 6)):
            box = np.r_[rng.uniform(0, 200, 2), rng.choice([12, 50, 150], 2)]
            person: Document = {"id": len(people) + 1, "image_id": image_id, "category_id": 1}
            person |= {"bbox": box.tolist(), "area": float(box[2] * box[3])}
            people.append(person | {"iscrowd": int(rng.random() < 0.2)})
            found += [(image_id, box + rng.normal(0, 4, 4)) for _ in range(rng.integers(0, 3))]
        found += [(image_id, rng.uniform(1, 200, 4)) for _ in range(rng.integers(0, 4))]
    results = [
        {"image_id": image_id, "category_id": 1, "bbox": np.abs(box).tolist(), "score": score}
        for (image_id, box), score in zip(found, rng.integers(1, 6, len(found)) / 5, strict=True)
    ]
    document: Document = {
        "images": [{"id": i + 1, "width": 400, "height": 400} for i in range(images)]
    }
    document |= {"annotations": people, "categories": [{"id": 1, "name": "person"}]}
    return document, results


@pytest.mark.parametrize("seed", range(12))
def test_matches_give_the_same_numbers_to_the_last_bit(seed: int) -> None:
    found = match_boxes(*crowded(seed))
    matches = found.coco.matches()
    assert [len(matches.matched), len(matches.thresholds)] == [4, 10]
    np.testing.assert_array_equal(box_statistics(matches), list(found.metrics.values()))


def test_weights_of_images_are_those_of_a_resample() -> None:
    """Photo 1 three times and the others not at all is photo 1 alone."""
    document, results = crowded(3)
    matches = match_boxes(document, results).coco.matches()
    alone = evaluate_boxes(*crowded(3), image_ids=[1])
    drawn = box_statistics(matches, np.array([[1, 0, 0, 0], [1, 1, 1, 1]]))
    np.testing.assert_allclose(drawn[0], list(alone.values()), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(drawn[1], box_statistics(matches))
