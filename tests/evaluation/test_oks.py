from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.cocoeval import COCOeval

from cpn.evaluation.oks import oks, pose_overlap
from cpn.skeleton import COCO_17


def poses(seed: int, num_truths: int, num_points: int, k: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    truths = rng.uniform(-20, 120, (num_truths, k, 3))
    truths[..., 2] = rng.integers(0, 3, (num_truths, k))
    truths[rng.random(num_truths) < 0.3, :, 2] = 0  # COCO's ignore regions
    nearest = truths[rng.integers(0, num_truths, num_points), :, :2]
    return {
        "ground_truths": truths,
        "points": nearest + rng.normal(0, rng.choice([0.1, 5, 60]), (num_points, k, 2)),
        "areas": rng.choice([0.0, 1.0, 900.0, 1e5], num_truths),
        "boxes_xywh": rng.uniform(0, 80, (num_truths, 4)),
        "sigmas": rng.uniform(0.02, 0.12, k).tolist(),
    }


def pycocotools_oks(case: dict[str, Any]) -> Any:
    evaluation = COCOeval(iouType="keypoints")
    evaluation.params.kpt_oks_sigmas = np.array(case["sigmas"])
    truths = zip(case["ground_truths"], case["areas"], case["boxes_xywh"], strict=True)
    evaluation._gts[0, 1] = [
        {"keypoints": keypoints.ravel().tolist(), "area": area, "bbox": box.tolist()}
        for keypoints, area, box in truths
    ]
    evaluation._dts[0, 1] = [
        {"keypoints": np.c_[points, np.ones(len(points))].ravel().tolist(), "score": 1.0}
        for points in case["points"]
    ]
    return evaluation.computeOks(0, 1)


cases = st.builds(
    poses,
    st.integers(0, 2**32 - 1),
    st.integers(1, 4),
    st.integers(1, 5),
    st.sampled_from([1, 14, 17]),
)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(cases)
def test_equals_pycocotools(case: dict[str, Any]) -> None:
    np.testing.assert_allclose(oks(**case), pycocotools_oks(case), rtol=0, atol=1e-12)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(cases, st.integers(0, 2**32 - 1))
def test_does_not_depend_on_any_order(case: dict[str, Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    truths = rng.permutation(len(case["areas"]))
    points = rng.permutation(len(case["points"]))
    joints = rng.permutation(len(case["sigmas"]))
    permuted = oks(
        case["ground_truths"][truths][:, joints],
        case["points"][points][:, joints],
        areas=case["areas"][truths],
        boxes_xywh=case["boxes_xywh"][truths],
        sigmas=np.array(case["sigmas"])[joints].tolist(),
    )
    np.testing.assert_allclose(permuted, oks(**case)[points][:, truths], rtol=0, atol=1e-12)


def test_by_hand() -> None:
    # d = 3, s^2 = 18, (2 sigma)^2 = 0.25 -> exp(-9 / (2 * 18 * 0.25)) = exp(-1); second unlabelled
    similarity = oks(
        np.array([[[10.0, 10.0, 2.0], [0.0, 0.0, 0.0]]]),
        np.array([[[10.0, 13.0], [500.0, 500.0]]]),
        areas=np.array([18.0]),
        boxes_xywh=np.zeros((1, 4)),
        sigmas=(0.25, 0.25),
    )
    np.testing.assert_allclose(similarity, [[np.exp(-1)]], rtol=1e-12)


def test_points_around_an_unlabelled_person_match_its_box() -> None:
    similarity = oks(
        np.zeros((1, 2, 3)),
        np.array([[[-9.0, 5.0], [19.0, 29.0]], [[-9.0, 5.0], [1e6, 0.0]]]),
        areas=np.array([100.0]),
        boxes_xywh=np.array([[0.0, 10.0, 10.0, 10.0]]),
        sigmas=(0.1, 0.1),
    )
    np.testing.assert_allclose(similarity, [[1.0], [0.5]])


@pytest.mark.parametrize(("num_truths", "num_points"), [(0, 2), (2, 0), (0, 0)])
def test_empty(num_truths: int, num_points: int) -> None:
    similarity = oks(
        np.zeros((num_truths, 17, 3)),
        np.zeros((num_points, 17, 2)),
        areas=np.zeros(num_truths),
        boxes_xywh=np.zeros((num_truths, 4)),
        sigmas=COCO_17.sigmas,
    )
    assert similarity.shape == (num_points, num_truths)


def test_overlap_takes_the_mean_area_and_all_keypoints() -> None:
    # s^2 = (10 + 26) / 2 = 18, d = 3 at one of two keypoints -> (exp(-1) + 1) / 2
    overlap = pose_overlap(
        np.array([[0.0, 0.0], [4.0, 4.0]]),
        np.array([[[0.0, 3.0], [4.0, 4.0]], [[0.0, 0.0], [4.0, 4.0]]]),
        area=10.0,
        other_areas=np.array([26.0, 26.0]),
        sigmas=(0.25, 0.25),
    )
    np.testing.assert_allclose(overlap, [(np.exp(-1) + 1) / 2, 1.0], rtol=1e-12)


def test_points_at_infinity_s_edge_have_no_similarity_and_give_no_warning() -> None:
    overlap = pose_overlap(
        np.zeros((1, 2)),
        np.full((1, 1, 2), 1e300),
        area=1.0,
        other_areas=np.ones(1),
        sigmas=(0.1,),
    )
    assert overlap.tolist() == [0.0]
