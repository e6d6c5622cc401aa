import json
import logging
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from cpn.errors import UserError
from cpn.evaluation import (
    KeypointResult,
    PosePredictions,
    read_results,
    to_coco_results,
    write_results,
)

GOOD = {"image_id": 7, "category_id": 1, "keypoints": [1.0, 2.0, 0.5, 3.0, 4.0, 0.25], "score": 0.5}


def read(path: Path) -> list[KeypointResult]:
    return read_results(path, image_ids={7, 8}, category_id=1, num_keypoints=2)


def write(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text(json.dumps(records))
    return path


def test_round_trip_is_exact(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    predictions = PosePredictions(
        image_ids=np.array([8, 7]),
        instance_ids=np.array([1, 2]),
        keypoints=rng.normal(size=(2, 2, 2)),
        keypoint_scores=rng.random((2, 2)),
        box_scores=np.ones(2),
        areas=np.ones(2),
    )
    scores = rng.random(2)
    path = tmp_path / "out" / "results.json"
    write_results(to_coco_results(predictions, scores, category_id=1), path)
    found = read(path)
    triples = np.array([result.keypoints for result in found]).reshape(2, 2, 3)
    assert [result.image_id for result in found] == [8, 7]
    np.testing.assert_array_equal(triples[..., :2], predictions.keypoints)
    np.testing.assert_array_equal(triples[..., 2], predictions.keypoint_scores)
    assert [result.score for result in found] == scores.tolist()


def test_records_are_plain_and_in_order() -> None:
    predictions = PosePredictions(
        image_ids=np.array([7]),
        instance_ids=np.array([4]),
        keypoints=np.array([[[1.0, 2.0], [3.0, 4.0]]]),
        keypoint_scores=np.array([[0.5, 0.25]]),
        box_scores=np.ones(1),
        areas=np.ones(1),
    )
    records = to_coco_results(predictions, np.array([0.5]), category_id=1)
    assert records == [GOOD]
    assert json.loads(json.dumps(records)) == [GOOD]


def test_no_predictions_give_no_records() -> None:
    nothing = PosePredictions(
        image_ids=np.zeros(0, np.int64),
        instance_ids=np.zeros(0, np.int64),
        keypoints=np.zeros((0, 17, 2)),
        keypoint_scores=np.zeros((0, 17)),
        box_scores=np.zeros(0),
        areas=np.zeros(0),
    )
    assert to_coco_results(nothing, np.zeros(0), category_id=1) == []


def test_non_finite_scores_are_refused() -> None:
    predictions = PosePredictions(
        image_ids=np.array([7]),
        instance_ids=np.array([4]),
        keypoints=np.zeros((1, 2, 2)),
        keypoint_scores=np.zeros((1, 2)),
        box_scores=np.ones(1),
        areas=np.ones(1),
    )
    with pytest.raises(UserError, match=r"1 of 1 predictions .*image 7 instance 4"):
        to_coco_results(predictions, np.array([np.nan]), category_id=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": "7"}, r"results\.json: at \[1\]\.image_id \(image_id '7'\): Expected `int`"),
        (
            {"category_id": 2},
            r"results\.json: record 1: category_id 2 is not the person category 1.*; correct",
        ),
        (
            {"keypoints": [1.0] * 5},
            r"results\.json: record 1: keypoints has 5 numbers, expected 6 .*; give the results of",
        ),
        (
            {"keypoints": [1.0, 2.0, 0.5, 3.0, float("nan"), 0.2]},
            r"results\.json: at \[1\]\.keypoints\[4\] \(image_id 7\): not a finite number",
        ),
        ({"score": float("nan")}, r"at \[1\]\.score \(image_id 7\): not a finite number"),
        ({"score": float("inf")}, r"at \[1\]\.score \(image_id 7\): not a finite number"),
        ({"bbox": [1.0, 2.0, 3.0, 4.0]}, r"record 1: bbox .* in every record or in none"),
        ({"bbox": [1.0]}, r"record 1: bbox \[1\.0\] must be"),
    ],
)
def test_bad_records_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "results.json", GOOD, GOOD | change)
    with pytest.raises(UserError, match=message):
        read(path)


def test_a_missing_score_is_named(tmp_path: Path) -> None:
    record = {key: value for key, value in GOOD.items() if key != "score"}
    path = write(tmp_path / "results.json", GOOD, record)
    with pytest.raises(
        UserError, match=r"at \[1\] \(image_id 7\): Object missing required field `score`"
    ):
        read(path)


def test_the_first_five_unknown_images_are_listed(tmp_path: Path) -> None:
    records = [GOOD | {"image_id": image_id} for image_id in (7, 26, 25, 24, 23, 22, 21, 26)]
    path = write(tmp_path / "results.json", *records)
    message = r"6 image_id values .*first: 26 \(record 1\), 25 \(record 2\), .*22 \(record 5\)\)"
    with pytest.raises(UserError, match=message):
        read(path)


def test_repeated_results_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    elsewhere = GOOD | {"image_id": 8}
    path = write(tmp_path / "results.json", GOOD, GOOD | {"score": 0.1}, elsewhere, GOOD)
    with caplog.at_level(logging.WARNING):
        assert len(read(path)) == 4
    assert "2 of 4 results repeat another" in caplog.text


def test_distinct_results_give_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(write(tmp_path / "results.json", GOOD, GOOD | {"image_id": 8}))
    assert not caplog.records


def test_a_box_in_every_record_is_kept(tmp_path: Path) -> None:
    boxed = GOOD | {"bbox": [1, 2, 3, 4]}
    found = read(write(tmp_path / "results.json", boxed, boxed | {"image_id": 8}))
    assert msgspec.structs.asdict(found[0]) == boxed
