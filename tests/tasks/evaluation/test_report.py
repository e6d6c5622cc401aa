import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cpn.evaluation import read_ground_truth
from cpn.evaluation.analysis import Analysis
from cpn.evaluation.diagnosis import diagnose
from cpn.report.data import KeypointType, Kind, Section
from cpn.skeleton import COCO_17
from cpn.tasks.evaluation.gallery import photos_of
from cpn.tasks.evaluation.report import (
    Background,
    report_data,
    write_evaluation_report,
)
from tests.evaluation.conftest import person

CALIBRATION = {
    "poses": 2,
    "expected_calibration_error": 0.25,
    "rescaled_error": 0.125,
    "bins": [{"low": 0.0, "high": 1.0, "poses": 2, "mean_score": 0.5, "mean_oks": 0.75}],
}


@pytest.fixture
def analysis() -> Analysis:
    """Person 1 found with the left wrist lost, 2 on photo 9 not, and a result on the background."""
    names = list(COCO_17.keypoint_names)
    document = {
        "images": [{"id": 7}, {"id": 9}],
        "annotations": [person(1, 7, (10.0, 10.0)), person(2, 9, (200.0, 10.0))],
        "categories": [{"id": 1, "name": "person", "keypoints": names}],
    }
    found = list(person(1, 7, (10.0, 10.0))["keypoints"])
    found[3 * 9] += 900.0
    away = [value + 5000.0 for value in found]
    results = [
        {"image_id": 7, "category_id": 1, "keypoints": keypoints, "score": score}
        for keypoints, score in ((found, 0.9), (away, 0.4))
    ]
    diagnosis = diagnose(read_ground_truth(document), results, COCO_17)
    return Analysis.of(diagnosis, resamples=20, confidence=0.9)


def background(**changes: Any) -> Background:
    values: dict[str, Any] = {"photos": {7: Path("seven.jpg")}, "extra": {"PCK": 0.5}}
    values |= {"title": "run", "box_source": "ground truth", "confidence": 0.9, "resamples": 20}
    return Background(**{**values, **changes})


def test_the_figures_are_those_of_the_analysis(analysis: Analysis) -> None:
    data = report_data(analysis, background(calibration=CALIBRATION, scores="rescaled"))
    assert (data.num_images, data.num_people, data.num_detections) == (2, 2, 2)
    assert data.headline["AP"].value == analysis.metrics["AP"]
    assert data.headline["AP"].low == analysis.intervals["AP"].low
    assert data.headline["PCK"].low is None
    note = (
        "90 % intervals: bootstrap over images, 20 resamples; of so few images they are too short"
    )
    assert data.interval_note == note
    wrist = next(row for row in data.keypoints if row.name == "left_wrist")
    assert wrist.counts[KeypointType.MISS] == 1
    assert wrist.ap["all"].value == analysis.keypoints["left_wrist"]["AP"]
    assert [row.name for row in data.parts][:2] == ["head", "shoulder"]
    assert data.errors is not None
    counts = {error.name: error.count for error in data.errors.types}
    assert (counts["miss"], counts["false positive"], counts["false negative"]) == (1, 1, 1)
    (calibration,) = data.calibration
    assert (calibration.name, calibration.ece, calibration.rescaled_ece) == (
        "rescaled",
        0.25,
        0.125,
    )
    assert calibration.bins[0].mean_oks == 0.75
    sides = {one.name for one in data.slices if one.group == "box area"}
    assert sides == {"96\u00b2 to 192\u00b2"}
    assert data.errors.types[-1].ap_in_turn == analysis.fixes.fixes[-1].progressive["AP"]


@pytest.mark.parametrize(
    ("name", "low", "high", "told"),
    [
        ("labelled_keypoints", -math.inf, 6.0, "up to 5"),
        ("visible_keypoints", 6.0, 11.0, "6 to 10"),
        ("visible_keypoints", 1.0, 2.0, "1"),
        ("labelled_keypoints", 16.0, math.inf, "16 or more"),
        ("overlap", 0.1, 0.3, "0.1 to 0.3"),
        ("box_aspect", -math.inf, 1 / 3, "below 0.333"),
        ("box_area", 192.0**2, math.inf, "192\u00b2 or more"),
    ],
)
def test_slices_are_told_in_words(
    analysis: Analysis, name: str, low: float, high: float, told: str
) -> None:
    part = analysis.slices[0]._replace(name=name, low=low, high=high, num_people=1)
    (shown,) = report_data(replace(analysis, slices=[part]), background()).slices
    assert (shown.group, shown.name) == (name.replace("_", " "), told)


def test_one_photo_has_no_intervals_and_the_page_says_so() -> None:
    document = {
        "images": [{"id": 7}],
        "annotations": [person(1, 7, (10.0, 10.0))],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO_17.keypoint_names)}],
    }
    diagnosis = diagnose(read_ground_truth(document), [], COCO_17)
    data = report_data(Analysis.of(diagnosis, resamples=20, confidence=0.9), background())
    assert data.interval_note == "No intervals: one image says nothing of others"
    assert data.headline["AP"].interval is None


def test_everybody_is_in_the_gallery(analysis: Analysis) -> None:
    gallery = report_data(analysis, background()).gallery
    kinds = [(item.annotation_id, item.kinds) for item in gallery]
    assert kinds == [(1, [Kind.MISS]), (2, [Kind.FALSE_NEGATIVE]), (None, [Kind.FALSE_POSITIVE])]
    assert gallery[0].oks == pytest.approx(16 / 17)
    assert gallery[0].photo == Path("seven.jpg")
    assert gallery[0].keypoint_types is not None
    assert gallery[0].keypoint_types[9] == "miss"
    assert gallery[2].box_xywh[0] == pytest.approx(5010.0)


def test_nobody_to_find_leaves_sections_out() -> None:
    truth = read_ground_truth(
        {
            "images": [{"id": 7}],
            "annotations": [],
            "categories": [{"id": 1, "name": "p", "keypoints": list(COCO_17.keypoint_names)}],
        }
    )
    empty = Analysis.of(diagnose(truth, [], COCO_17), resamples=5, confidence=0.9)
    data = report_data(empty, background(calibration={"poses": 0}))
    assert (data.errors, data.curves, data.calibration) == (None, [], [])
    assert data.why_missing[Section.CURVES] == "Nobody is to be found."


def test_a_page_and_events_are_written(analysis: Analysis, tmp_path: Path) -> None:
    written = write_evaluation_report(analysis, background(), tmp_path / "metrics.json")
    assert written == [tmp_path / "metrics.html", tmp_path / "tensorboard" / "metrics"]
    assert "false negative" in written[0].read_text()
    assert list(written[1].iterdir())


def test_photos_outside_the_folder_are_not_shown(tmp_path: Path) -> None:
    names = ["a.jpg", "sub/b.jpg", "../c.jpg", "/d.jpg", "", None, 3]
    images: list[dict[str, Any]] = [{"id": i, "file_name": name} for i, name in enumerate(names)]
    file = tmp_path / "annotations.json"
    file.write_text(json.dumps({"images": [*images, {"id": 9}]}))
    found = photos_of(file, Path("photos"))
    assert found == {0: Path("photos/a.jpg"), 1: Path("photos/sub/b.jpg")}
