"""hotcoco serves where speed counts because its numbers are pycocotools' to the last bit.

The cases are our own goldens and random ones with crowds, people without keypoints, equal scores,
more results than COCO counts, results on empty images, and points far off.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpn.evaluation import score_results_file
from cpn.evaluation.coco_api import CocoEvaluation
from cpn.skeleton import COCO_17

GOLDEN = Path(__file__).parents[1] / "golden" / "evaluation"
FIELDS = (
    *("image_ids", "thresholds", "result_images", "result_numbers", "scores", "matched", "ignored"),
    *("person_images", "counted"),
)
FAR = (0.0, 1.0, 30.0, 1e6, 1e200)


def random_document(rng: np.random.Generator, num_keypoints: int) -> dict[str, Any]:
    image_ids = rng.choice(10**6, size=4, replace=False).tolist()
    annotations = []
    for index in range(rng.integers(0, 14)):
        keypoints = np.c_[
            rng.uniform(0, 300, (num_keypoints, 2)), rng.integers(0, 3, num_keypoints)
        ]
        keypoints[rng.random() < 0.2 :] *= rng.random() > 0.2
        annotations.append(
            {
                "id": index + 1,
                "image_id": int(rng.choice(image_ids[:3])),
                "category_id": 1,
                "bbox": rng.uniform(0, 300, 4).tolist(),
                "area": float(rng.choice([500.0, 1024.0, 3000.0, 9216.0, 40000.0])),
                "iscrowd": int(rng.random() < 0.2),
                "keypoints": keypoints.ravel().tolist(),
                "num_keypoints": int((keypoints[:, 2] > 0).sum()),
            }
        )
    images = [{"id": image_id} for image_id in image_ids]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}],
    }


def random_results(
    rng: np.random.Generator, document: dict[str, Any], num_keypoints: int
) -> list[dict[str, Any]]:
    results = []
    with_boxes = rng.random() < 0.5
    for person in document["annotations"]:
        truth = np.array(person["keypoints"]).reshape(num_keypoints, 3)
        for _ in range(rng.integers(0, 12)):
            points = truth + rng.normal(0, 5, truth.shape) * rng.choice(FAR)
            results.append(_result(rng, person["image_id"], points, with_boxes))
    for image in document["images"]:
        for _ in range(rng.integers(0, 4)):
            points = rng.uniform(0, 300, (num_keypoints, 3))
            results.append(_result(rng, image["id"], points, with_boxes))
    return [results[index] for index in rng.permutation(len(results))]


def _result(
    rng: np.random.Generator, image_id: int, points: np.ndarray[Any, Any], with_boxes: bool
) -> dict[str, Any]:
    # A few scores only, so that many are equal.
    score = float(rng.choice([0.0, 0.1, 0.5, 0.5000001, 0.9, 1.0]))
    result = {"image_id": image_id, "category_id": 1, "keypoints": points.ravel().tolist()}
    box = {"bbox": rng.uniform(0, 120, 4).tolist()} if with_boxes else {}
    return result | {"score": score} | box


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 5, 17]))
def test_equal_to_the_last_bit(seed: int, num_keypoints: int) -> None:
    rng = np.random.default_rng(seed)
    document = random_document(rng, num_keypoints)
    results = random_results(rng, document, num_keypoints)
    sigmas = COCO_17.sigmas[:num_keypoints]
    found = []
    for engine in ("pycocotools", "hotcoco"):
        # Fresh copies, as pycocotools writes into what it is given.
        texts = json.loads(json.dumps([document, results]))
        found.append(CocoEvaluation(*texts, kind="keypoints", sigmas=sigmas, engine=engine))
    numbers = [evaluation.statistics() for evaluation in found]
    np.testing.assert_array_equal(numbers[0], numbers[1])
    ours, others = (evaluation.matches() for evaluation in found)
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(ours, field), getattr(others, field), err_msg=field)
    # And the ten numbers follow from the matches.
    np.testing.assert_array_equal(ours.statistics(), numbers[0])


@pytest.mark.parametrize(
    ("folder", "prefix"),
    [("faster_coco_eval", ""), ("mmpose", "case1_"), ("mmpose", "case2_"), ("mmpose", "case3_")],
)
def test_golden_results_files(folder: str, prefix: str) -> None:
    files = GOLDEN / folder / f"{prefix}dt.json", GOLDEN / folder / "gt.json"
    expected = score_results_file(*files)
    assert score_results_file(*files, engine="hotcoco") == expected


def test_hotcoco_s_sigmas_are_ours() -> None:
    points = np.c_[np.arange(17.0) * 9, np.arange(17.0) * 7, np.full(17, 2.0)]
    person = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0.0, 0.0, 150.0, 120.0]}
    person |= {"area": 9000.0, "iscrowd": 0, "keypoints": points.ravel().tolist()}
    document: dict[str, Any] = {"images": [{"id": 1}], "categories": [{"id": 1, "name": "person"}]}
    document["annotations"] = [person | {"num_keypoints": 17}]
    result: dict[str, Any] = {"image_id": 1, "category_id": 1, "score": 1.0}
    result["keypoints"] = (points + np.array([3.0, 0.0, 0.0])).ravel().tolist()
    strict, loose = (
        CocoEvaluation(
            document, [dict(result)], kind="keypoints", sigmas=[sigma] * 17, engine="hotcoco"
        ).statistics()[0]
        for sigma in (0.001, 1.0)
    )
    assert (strict, loose) == (0.0, pytest.approx(1.0))
