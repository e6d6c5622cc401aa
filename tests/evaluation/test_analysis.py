import json
import logging
from pathlib import Path

import numpy as np
import pytest

from cpn.evaluation import COCO_METRICS, evaluate_keypoints, read_ground_truth
from cpn.evaluation.analysis import Analysis
from cpn.evaluation.diagnosis import Mistake, diagnose
from cpn.files.atomic import plain_json
from cpn.skeleton import COCO_17
from tests.evaluation.conftest import Document, Perfect

LEFT_WRIST = COCO_17.keypoint_names.index("left_wrist")


def analysis_of(document: Document, records: list[dict[str, object]], resamples: int) -> Analysis:
    diagnosis = diagnose(read_ground_truth(document), records, COCO_17)
    return Analysis.of(diagnosis, resamples=resamples, confidence=0.95)


def test_all_parts_tell_of_the_same_mistake(document: Document, perfect: Perfect) -> None:
    results = perfect(document)
    for result in results:
        result["keypoints"][3 * LEFT_WRIST] += 3000.0
    found = analysis_of(document, results, resamples=20)
    assert found.metrics == evaluate_keypoints(document, results, sigmas=COCO_17.sigmas)
    assert tuple(found.intervals) == COCO_METRICS
    assert found.count(Mistake.MISS) == 3
    assert found.fixes.gain(Mistake.MISS) == pytest.approx(1 - found.metrics["AP"])
    assert found.fixes.gain(Mistake.JITTER) == 0
    assert found.keypoints["left_wrist"]["AP"] == 0
    assert found.parts["elbow"]["AP"] == pytest.approx(1.0)
    assert (found.pck["left_wrist"], found.pck["nose"]) == (0.0, 1.0)


def test_the_figures_are_plain_json(document: Document, perfect: Perfect, tmp_path: Path) -> None:
    found = analysis_of(document, perfect(document)[:2], resamples=0)
    figures = json.loads(json.dumps(plain_json(found.to_dict()), allow_nan=False))
    assert figures["intervals"] == {}
    assert figures["keypoints"]["nose"]["good"] == 2
    assert figures["keypoints"]["nose"]["PCK"] == pytest.approx(2 / 3)
    assert figures["mistakes"]["false_negative"]["count"] == 1
    assert figures["mistakes"]["false_negative"]["AP_if_fixed"] == pytest.approx(1.0)
    assert {part["property"] for part in figures["slices"]} >= {"overlap", "box_area"}
    assert figures["slices"][0]["from"] is None


def test_nothing_found_and_nobody_there(document: Document) -> None:
    assert analysis_of(document, [], resamples=5).metrics["AP"] == 0
    document["annotations"] = []
    found = analysis_of(document, [], resamples=5)
    assert np.isnan(found.metrics["AP"])
    assert json.dumps(plain_json(found.to_dict()), allow_nan=False)


def test_what_was_checked_before_gives_no_warning(
    document: Document, perfect: Perfect, caplog: pytest.LogCaptureFixture
) -> None:
    results = perfect(document)
    # Of the upper body alone one repeats the other; and somebody is lost in most of the slices.
    results.append(results[0] | {"keypoints": [*results[0]["keypoints"][:48], 0.0, 0.0, 1.0]})
    with caplog.at_level(logging.WARNING):
        analysis_of(document, results, resamples=0)
        analysis_of(document, [], resamples=0)
    assert not caplog.messages
