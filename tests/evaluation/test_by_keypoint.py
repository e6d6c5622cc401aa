from typing import Any

import numpy as np
import pytest

from cpn.evaluation import evaluate_keypoints, read_ground_truth
from cpn.evaluation.by_keypoint import (
    body_parts,
    metrics_by_keypoint,
    metrics_by_subset,
)
from cpn.evaluation.results import KeypointResult, parse_results
from cpn.skeleton import COCO_17, Skeleton
from tests.evaluation.conftest import Document, Perfect

LEFT_WRIST = COCO_17.keypoint_names.index("left_wrist")


def moved(records: list[dict[str, Any]], keypoint: int, by: float) -> list[KeypointResult]:
    """The results with one keypoint moved to the right, in pixels."""
    results = []
    for record in records:
        keypoints = np.reshape(record["keypoints"], (-1, 3)).astype(float)
        keypoints[keypoint, 0] += by
        results.append(record | {"keypoints": keypoints.ravel().tolist()})
    return parse_results(results)


def test_coco_s_parts() -> None:
    parts = body_parts(COCO_17)
    assert list(parts) == ["head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"]
    assert parts["head"] == (0, 1, 2, 3, 4)
    assert parts["wrist"] == (9, 10)
    assert sorted(k for part in parts.values() for k in part) == list(range(17))


def test_parts_of_other_skeletons() -> None:
    names = ("head_top", "neck", "Left-Paw", "right_paw", "tail")
    other = Skeleton(names, (), (), (0.1,) * 5)
    assert body_parts(other) == {"head": (0,), "neck": (1,), "paw": (2, 3), "tail": (4,)}


def test_only_the_wrong_keypoint_loses(document: Document, perfect: Perfect) -> None:
    truth = read_ground_truth(document)
    results = moved(perfect(document), LEFT_WRIST, 1000.0)
    found = metrics_by_keypoint(truth, results, COCO_17)
    assert tuple(found) == COCO_17.keypoint_names
    for name, precision in found.items():
        expected = 0.0 if name == "left_wrist" else 1.0
        assert precision["AP"] == pytest.approx(expected), name
    parts = metrics_by_subset(truth, results, COCO_17, body_parts(COCO_17))
    # Half of the wrists are right: an OKS of .5 passes the first threshold only.
    numbers = [parts["wrist"][name] for name in ("AP", "AP50", "AP75")]
    assert numbers == pytest.approx([0.1, 1.0, 0.0])
    assert parts["elbow"]["AP"] == pytest.approx(1.0)


def test_a_keypoint_s_sigma_decides(document: Document, perfect: Perfect) -> None:
    # exp(-d^2 / (2 area (2 sigma)^2)) is the OKS of one keypoint.
    truth = read_ground_truth(document)
    areas = [6000.0, 20000.0, 6000.0]
    similarity = [np.exp(-64.0 / (2 * area * (2 * 0.062) ** 2)) for area in areas]
    passed = [np.mean([s >= t for t in np.arange(0.5, 0.96, 0.05)]) for s in similarity]
    results = moved(perfect(document), LEFT_WRIST, 8.0)
    found = metrics_by_keypoint(truth, results, COCO_17)["left_wrist"]
    assert min(passed) < found["AP"] < max(passed)
    only = evaluate_keypoints(truth, results, sigmas=COCO_17.sigmas)
    assert found["AP"] < only["AP"]


def test_people_without_the_keypoint_are_ignored(document: Document, perfect: Perfect) -> None:
    results = moved(perfect(document), LEFT_WRIST, 1000.0)
    for annotation in document["annotations"]:
        annotation["keypoints"][3 * LEFT_WRIST + 2] = 0
    found = metrics_by_keypoint(read_ground_truth(document), results, COCO_17)
    assert np.isnan(list(found["left_wrist"].values())).all()
    assert found["right_wrist"]["AP"] == pytest.approx(1.0)


def test_pycocotools_says_the_same(document: Document, perfect: Perfect) -> None:
    truth = read_ground_truth(document)
    results = moved(perfect(document), LEFT_WRIST, 8.0)
    parts = body_parts(COCO_17)
    found, reference = (
        metrics_by_subset(truth, results, COCO_17, parts, engine=engine)
        for engine in ("hotcoco", "pycocotools")
    )
    assert found == reference


def test_a_wrong_result_counts_among_people_of_its_size(
    document: Document, perfect: Perfect
) -> None:
    # A single keypoint has no extent, by which it would be too small for every class.
    wrong = perfect(document)[:1]
    wrong[0] |= {"score": 1.0}
    for k in range(17):
        wrong[0]["keypoints"][3 * k] += 3000.0
    results = parse_results([*perfect(document), *wrong])
    found = metrics_by_keypoint(read_ground_truth(document), results, COCO_17)
    whole = evaluate_keypoints(document, results, sigmas=COCO_17.sigmas)
    assert whole["APM"] < 0.9
    assert found["nose"]["APM"] == pytest.approx(whole["APM"])
