import contextlib
import copy
import io
import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cpn.errors import UserError
from cpn.evaluation import (
    COCO_METRICS,
    category_skeleton,
    evaluate_keypoints,
    read_ground_truth,
    score_results_file,
)
from cpn.skeleton import COCO_17

GOLDEN = Path(__file__).parents[1] / "golden" / "evaluation"
SIGMAS = COCO_17.sigmas
Document = dict[str, Any]
Results = list[dict[str, Any]]
Perfect = Callable[[Document], Results]


@pytest.mark.parametrize(
    ("folder", "prefix"),
    [("faster_coco_eval", ""), ("mmpose", "case1_"), ("mmpose", "case2_"), ("mmpose", "case3_")],
)
def test_golden_results_files(folder: str, prefix: str) -> None:
    expected = json.loads((GOLDEN / folder / f"{prefix}expected.json").read_text())["stats"]
    metrics = score_results_file(GOLDEN / folder / f"{prefix}dt.json", GOLDEN / folder / "gt.json")
    assert tuple(metrics) == COCO_METRICS
    np.testing.assert_allclose(list(metrics.values()), expected, rtol=0, atol=1e-9)


def plain_pycocotools(document: Document, results: Results) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(document)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), "keypoints")
        evaluation.params.catIds = [1]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [math.nan if number < 0 else number for number in evaluation.stats]


def random_case(seed: int) -> tuple[Document, Results]:
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    with_boxes = rng.random() < 0.5
    for index in range(rng.integers(1, 12)):
        keypoints = np.c_[rng.uniform(0, 300, (17, 2)), rng.integers(0, 3, 17)]
        if rng.random() < 0.3:
            keypoints[:] = 0
        image_id = int(rng.integers(0, 3))
        annotations.append(
            {
                "id": index + 1,
                "image_id": image_id,
                "category_id": 1,
                "bbox": rng.uniform(0, 300, 4).tolist(),
                "area": float(rng.choice([500.0, 3000.0, 40000.0])),
                "iscrowd": int(rng.random() < 0.2),
                "keypoints": keypoints.ravel().tolist(),
                "num_keypoints": int((keypoints[:, 2] > 0).sum()),
            }
        )
        keypoints[:, :2] += rng.normal(0, 8, (17, 2))
        results += [
            {
                "image_id": image_id,
                "category_id": 1,
                "keypoints": (keypoints + repeat).ravel().tolist(),
                "score": float(rng.choice([0.3, 0.5, 0.9])),
            }
            | ({"bbox": rng.uniform(0, 120, 4).tolist()} if with_boxes else {})
            for repeat in range(rng.integers(1, 3))
        ]
    document = {
        "images": [{"id": image_id} for image_id in range(3)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO_17.keypoint_names)}],
    }
    return document, results


@settings(max_examples=40, derandomize=True, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_equals_pycocotools_with_crowds_and_unlabelled_persons(seed: int) -> None:
    document, results = random_case(seed)
    metrics = evaluate_keypoints(document, results, sigmas=SIGMAS)
    expected = plain_pycocotools(document, results)
    np.testing.assert_allclose(list(metrics.values()), expected, rtol=0, atol=1e-12)


def test_perfect_results(document: Document, perfect: Perfect) -> None:
    metrics = evaluate_keypoints(document, perfect(document), sigmas=SIGMAS)
    assert metrics == pytest.approx(dict.fromkeys(COCO_METRICS, 1.0))


def test_nothing_is_printed_and_nothing_is_changed(
    document: Document, perfect: Perfect, capsys: pytest.CaptureFixture[str]
) -> None:
    results = perfect(document)
    before = copy.deepcopy((document, results))
    evaluate_keypoints(document, results, sigmas=SIGMAS)
    assert (document, results) == before
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("position", [0, 1, 2])
def test_annotation_id_zero_costs_no_match(
    document: Document, perfect: Perfect, position: int
) -> None:
    document["annotations"][position]["id"] = 0
    assert evaluate_keypoints(document, perfect(document), sigmas=SIGMAS)["AP"] == 1.0
    assert plain_pycocotools(document, perfect(document))[0] < 1.0  # the trap is real


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("field", ["keypoints", "score"])
def test_non_finite_results_are_refused(
    document: Document, perfect: Perfect, field: str, bad: float
) -> None:
    results = perfect(document)
    results[1][field] = [bad] * 51 if field == "keypoints" else bad
    with pytest.raises(UserError, match=rf"1 of 3 results .*record 1 {field} \(image 7\)"):
        evaluate_keypoints(document, results, sigmas=SIGMAS)


def test_empty_results_are_zero_with_a_warning(
    document: Document, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        metrics = evaluate_keypoints(document, [], sigmas=SIGMAS)
    assert metrics == dict.fromkeys(COCO_METRICS, 0.0)
    assert "no results to evaluate: AP is 0" in caplog.text


def test_an_empty_results_file_is_zero(
    document: Document, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "gt.json").write_text(json.dumps(document))
    (tmp_path / "dt.json").write_text("[]")
    with caplog.at_level(logging.WARNING):
        metrics = score_results_file(tmp_path / "dt.json", tmp_path / "gt.json")
    assert metrics == dict.fromkeys(COCO_METRICS, 0.0)
    expected = f"{tmp_path / 'dt.json'}: no results to evaluate: AP is 0 by definition"
    assert caplog.messages == [expected]


def test_repeated_results_are_told_once(
    document: Document, perfect: Perfect, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        evaluate_keypoints(document, perfect(document) * 2, sigmas=SIGMAS)
    (told,) = caplog.messages
    assert told.startswith("results: 3 of 6 results repeat another")


@pytest.mark.parametrize("with_results", [True, False])
def test_no_ground_truth_is_nan(
    document: Document, perfect: Perfect, *, with_results: bool
) -> None:
    results = perfect(document) if with_results else []
    document["annotations"] = document["annotations"][3:]
    metrics = evaluate_keypoints(document, results, sigmas=SIGMAS)
    assert all(math.isnan(metrics[name]) for name in COCO_METRICS)
    assert not metrics["AP"] > -1.0  # can never be a best


def test_no_large_person_is_nan_for_large_only(document: Document, perfect: Perfect) -> None:
    del document["annotations"][1]
    metrics = evaluate_keypoints(document, perfect(document), sigmas=SIGMAS)
    assert metrics["APM"] == 1.0
    assert math.isnan(metrics["APL"])
    assert math.isnan(metrics["ARL"])


def test_only_given_images_count(document: Document, perfect: Perfect) -> None:
    results = perfect(document)[:2]  # image 9 has no result
    assert evaluate_keypoints(document, results, sigmas=SIGMAS)["AR"] == pytest.approx(2 / 3)
    assert evaluate_keypoints(document, results, sigmas=SIGMAS, image_ids=[7])["AR"] == 1.0


def test_only_given_annotations_count(document: Document, perfect: Perfect) -> None:
    results = [perfect(document)[0]]
    assert evaluate_keypoints(document, results, sigmas=SIGMAS)["AR"] < 0.5
    metrics = evaluate_keypoints(document, results, sigmas=SIGMAS, annotation_ids=[1])
    assert metrics["AP"] == pytest.approx(1.0)
    assert math.isnan(metrics["APL"])


def test_results_of_images_that_are_not_evaluated_are_left_out(
    document: Document, perfect: Perfect
) -> None:
    metrics = evaluate_keypoints(document, perfect(document), sigmas=SIGMAS, annotation_ids=[3])
    assert metrics["AP"] == pytest.approx(1.0)


def test_a_read_ground_truth_can_be_used_again(document: Document, perfect: Perfect) -> None:
    truth, results = read_ground_truth(document), perfect(document)
    first = evaluate_keypoints(truth, results, sigmas=SIGMAS)
    assert evaluate_keypoints(truth, results, sigmas=SIGMAS) == first


def test_sigmas_decide_the_similarity(document: Document, perfect: Perfect) -> None:
    results = perfect(document)
    for result in results:
        result["keypoints"] = [number + 3.0 for number in result["keypoints"]]
    strict = evaluate_keypoints(document, results, sigmas=[0.01] * 17)
    lenient = evaluate_keypoints(document, results, sigmas=[0.2] * 17)
    assert strict["AP"] == 0.0
    assert lenient["AP"] == 1.0


def test_wrong_number_of_sigmas_is_refused(document: Document, perfect: Perfect) -> None:
    with pytest.raises(
        UserError, match=r"annotation 1 has 17 keypoints but there are 16 sigmas; set sigmas="
    ):
        evaluate_keypoints(document, perfect(document), sigmas=[0.1] * 16)


@pytest.mark.parametrize("sigma", [0.0, -0.1, math.nan, math.inf])
def test_sigmas_must_be_positive(document: Document, perfect: Perfect, sigma: float) -> None:
    with pytest.raises(
        UserError, match=r"sigmas=.*data\.sigmas in train.py\) must be positive and"
    ):
        evaluate_keypoints(document, perfect(document), sigmas=[sigma] * 17)


def test_wrong_category_is_refused(document: Document, perfect: Perfect) -> None:
    results = perfect(document)
    results[2]["category_id"] = 3
    with pytest.raises(UserError, match="results: record 2: category_id 3"):
        evaluate_keypoints(document, results, sigmas=SIGMAS)


def test_persons_without_a_keypoints_field_are_ignore_regions(
    document: Document, perfect: Perfect
) -> None:
    results = perfect(document)
    for annotation in document["annotations"][3:]:
        del annotation["keypoints"]
    results.append(results[2] | {"keypoints": [450.0, 60.0, 1.0] * 17, "score": 1.0})
    metrics = evaluate_keypoints(document, results, sigmas=SIGMAS)
    assert metrics["AP"] == 1.0  # the first-ranked result lies in the box of unlabelled person 5


def test_points_at_the_edge_of_float_range_are_only_wrong(
    document: Document, perfect: Perfect
) -> None:
    results = perfect(document)
    results[2]["keypoints"] = [1e300, 0.0, 1.0] * 16 + [0.0, 0.0, 1.0]
    assert 0 < evaluate_keypoints(document, results, sigmas=SIGMAS)["AP"] < 1


def custom(document: Document, k: int, names: list[str] | None) -> Document:
    for annotation in document["annotations"]:
        annotation["keypoints"] = annotation["keypoints"][: 3 * k]
        annotation["num_keypoints"] = min(annotation["num_keypoints"], k)
    document["categories"] = [{"id": 1, "name": "person"} | ({"keypoints": names} if names else {})]
    return document


def test_unknown_keypoint_names_need_sigmas(document: Document) -> None:
    truth = read_ground_truth(custom(document, 2, ["left_tip", "tail"]))
    with pytest.raises(UserError, match=r"set sigmas=.*data\.sigmas in train.py\) to 2 numbers"):
        category_skeleton(truth)
    assert category_skeleton(truth, [0.1, 0.2]).sigmas == (0.1, 0.2)


def test_unnamed_keypoints_are_coco_s_if_there_are_17(
    document: Document, caplog: pytest.LogCaptureFixture
) -> None:
    truth = read_ground_truth(custom(document, 17, None))
    with caplog.at_level(logging.WARNING):
        assert category_skeleton(truth) == COCO_17
    assert "category 1 names no keypoints; its persons have 17, taken for COCO's" in caplog.text


def test_other_unnamed_keypoints_need_sigmas(document: Document) -> None:
    truth = read_ground_truth(custom(document, 14, None))
    with pytest.raises(UserError, match=r"names no keypoints .*\[14\] keypoints; set sigmas="):
        category_skeleton(truth)
    assert category_skeleton(truth, [0.1] * 14).sigmas == (0.1,) * 14


def test_a_custom_skeleton_is_scored_from_files(document: Document, tmp_path: Path) -> None:
    custom(document, 2, ["tip", "tail"])
    results = [
        {"image_id": 7, "category_id": 1, "keypoints": annotation["keypoints"], "score": 0.5}
        for annotation in document["annotations"][:2]
    ]
    (tmp_path / "gt.json").write_text(json.dumps(document))
    (tmp_path / "dt.json").write_text(json.dumps(results))
    metrics = score_results_file(
        tmp_path / "dt.json", tmp_path / "gt.json", sigmas=[0.1, 0.1], image_ids=[7]
    )
    assert metrics["AP"] == 1.0


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=4,
)
places = st.sampled_from(
    [
        *[("annotations", 1, name) for name in ("id", "image_id", "category_id", "bbox", "area")],
        *[("annotations", 1, name) for name in ("iscrowd", "keypoints", "num_keypoints")],
        *[("categories", 0, name) for name in ("id", "name", "keypoints")],
        *[("results", 1, name) for name in ("image_id", "category_id", "keypoints", "score")],
        ("images", 0, "id"),
        ("results", 0, "bbox"),
    ]
)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.integers(0, 999), places, anything)
def test_any_value_anywhere_is_scored_or_refused(
    seed: int, place: tuple[str, int, str], value: object
) -> None:
    document, results = random_case(seed)
    whole: dict[str, Any] = document | {"results": results}
    part, index, name = place
    whole[part][min(index, len(whole[part]) - 1)][name] = value
    with contextlib.suppress(UserError):
        truth = read_ground_truth(document)
        metrics = evaluate_keypoints(truth, results, sigmas=category_skeleton(truth).sigmas)
        assert all(math.isnan(number) or 0 <= number <= 1 for number in metrics.values())
