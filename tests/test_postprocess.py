import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpn.errors import UserError
from cpn.evaluation import PosePredictions, evaluate_keypoints, to_coco_results
from cpn.evaluation.oks import pose_overlap
from cpn.postprocess import keep_scored, oks_nms, rescore, soft_oks_nms, suppress
from cpn.skeleton import COCO_17

GOLDEN = Path(__file__).parent / "golden" / "evaluation" / "mmpose"
SIGMAS = (0.25, 0.25)


def column(shifts: list[float]) -> np.ndarray:
    """Poses of two keypoints, moved down: with area 18 a shift d has overlap exp(-d^2 / 9)."""
    return np.array([[[0.0, shift], [50.0, shift]] for shift in shifts])


def predictions(
    shifts: list[float], image_ids: list[int], scores: list[list[float]] | None = None
) -> PosePredictions:
    n = len(shifts)
    return PosePredictions(
        image_ids=np.array(image_ids, dtype=np.int64),
        instance_ids=np.arange(n, dtype=np.int64),
        keypoints=column(shifts).reshape(n, 2, 2),
        keypoint_scores=np.array(scores or [[0.5, 0.5]] * n).reshape(n, 2),
        box_scores=np.full(n, 0.5),
        areas=np.full(n, 18.0),
    )


@pytest.mark.parametrize("case", ["case1", "case2", "case3"])
def test_golden_instances_through_our_rescoring_and_nms(case: str) -> None:
    expected = json.loads((GOLDEN / f"{case}_expected.json").read_text())
    raw = json.loads((GOLDEN / f"{case}_instances_raw.json").read_text())

    def field(name: str) -> Any:
        return np.array([instance[name] for instance in raw])

    poses = PosePredictions(
        image_ids=field("image_id"),
        instance_ids=field("id"),
        keypoints=field("keypoints"),
        keypoint_scores=field("keypoint_scores"),
        box_scores=field("bbox_score"),
        areas=field("area"),
    )
    mode = expected["score_mode"].replace("bbox", "box")
    scores = rescore(poses, mode=mode, keypoint_threshold=expected["keypoint_score_thr"])
    kept, scores = suppress(
        poses,
        scores,
        method=expected["nms_mode"].removesuffix("_nms"),
        threshold=expected["nms_thr"],
        sigmas=COCO_17.sigmas,
    )
    results = to_coco_results(kept, scores, category_id=1)
    metrics = evaluate_keypoints(GOLDEN / "gt.json", results, sigmas=COCO_17.sigmas)
    np.testing.assert_allclose(list(metrics.values()), expected["stats"], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("box", [0.5, 0.5, 0.5]),
        ("keypoint", [0.5, 0.45, 0.1]),
        ("keypoint_max", [0.6, 0.7, 0.1]),
        ("box_mean", [0.5 * 0.5, 0.5 * 0.45, 0.5 * 0.1]),
        ("box_max", [0.5 * 0.6, 0.5 * 0.7, 0.5 * 0.1]),
        ("box_rle", [0.5 + 0.5 + 0.6, 0.5 + 0.45 + 0.7, 0.5 + 0.1 + 0.1]),
        ("box_keypoint", [0.5 * 0.5, 0.5 * 0.7, 0.0]),  # 0.2 itself is not above the threshold
    ],
)
def test_score_modes(mode: Any, expected: list[float]) -> None:
    poses = predictions([0, 0, 0], [1, 1, 1], [[0.4, 0.6], [0.2, 0.7], [0.1, 0.1]])
    np.testing.assert_allclose(rescore(poses, mode=mode), expected, rtol=1e-6)


def test_keypoint_threshold() -> None:
    poses = predictions([0], [1], [[0.4, 0.6]])
    assert rescore(poses, mode="box_keypoint", keypoint_threshold=0.5) == pytest.approx([0.3])


def test_equal_means_stay_equal_for_any_number_of_keypoints() -> None:
    points = np.zeros((18, 17))
    for count in range(18):
        points[count, 17 - count :] = np.float32(0.8) * 2
    poses = PosePredictions(
        image_ids=np.zeros(18, np.int64),
        instance_ids=np.arange(18),
        keypoints=np.zeros((18, 17, 2)),
        keypoint_scores=points,
        box_scores=np.full(18, np.float64(np.float32(0.98))),
        areas=np.ones(18),
    )
    scores = rescore(poses, mode="box_keypoint")
    assert scores[0] == 0.0
    assert len(set(scores[1:].tolist())) == 1


def test_unknown_score_mode_is_refused() -> None:
    with pytest.raises(ValueError, match=r"score mode 'bbox' is unknown; known: \['box_keypoint'"):
        rescore(predictions([0], [1]), mode="bbox")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (0.99, [2, 0, 1, 3]),
        (0.8, [2, 0, 3]),  # 1 is exp(-1/9) = 0.89 from 0; 2 is exp(-9/9) = 0.37 from 0
        (0.3, [2, 1, 3]),  # 1 is 0.17 from 2, and 0, which would suppress it, is gone
    ],
)
def test_oks_nms(threshold: float, expected: list[int]) -> None:
    kept = oks_nms(
        column([0.0, -1.0, 3.0, 30.0]),
        np.array([0.8, 0.7, 0.9, 0.6]),
        np.full(4, 18.0),
        sigmas=SIGMAS,
        threshold=threshold,
    )
    assert kept.tolist() == expected


def test_an_overlap_equal_to_the_threshold_stays() -> None:
    kept = oks_nms(
        column([0.0, 0.0]),
        np.array([0.9, 0.8]),
        np.full(2, 18.0),
        sigmas=SIGMAS,
        threshold=1.0,
    )
    assert kept.tolist() == [0, 1]


def test_a_suppressed_pose_suppresses_nobody() -> None:
    # 1 falls to 0; 2 overlaps 1 (0.64) but not 0 (0.17)
    kept = oks_nms(
        column([0.0, 2.0, 4.0]),
        np.array([0.9, 0.8, 0.7]),
        np.full(3, 18.0),
        sigmas=SIGMAS,
        threshold=0.5,
    )
    assert kept.tolist() == [0, 2]


def test_soft_oks_nms_reorders_but_keeps() -> None:
    # 1 equals 0: its score falls to 0.8 exp(-1/0.9) = 0.26, below the distant 2 with 0.5
    kept = soft_oks_nms(
        column([0.0, 0.0, 30.0]),
        np.array([0.9, 0.8, 0.5]),
        np.full(3, 18.0),
        sigmas=SIGMAS,
        threshold=0.9,
    )
    assert kept.tolist() == [0, 2, 1]


def test_soft_oks_nms_lowers_by_the_square_of_the_overlap() -> None:
    # overlap of 1 with 0 is exp(-4/9) = 0.64: 0.8 exp(-0.64^2 / 0.9) = 0.507, exp(-0.64/0.9) 0.392
    kept = soft_oks_nms(
        column([0.0, 2.0, 30.0]),
        np.array([0.9, 0.8, 0.45]),
        np.full(3, 18.0),
        sigmas=SIGMAS,
        threshold=0.9,
    )
    assert kept.tolist() == [0, 1, 2]


def test_soft_oks_nms_lowers_again_for_every_kept_pose() -> None:
    # 3 equals 0 and 1 equals 2; after both bests are kept, both repeats are lowered once
    kept = soft_oks_nms(
        column([0.0, 30.0, 30.0, 0.0]),
        np.array([0.9, 0.6, 0.8, 0.7]),
        np.full(4, 18.0),
        sigmas=SIGMAS,
        threshold=0.9,
    )
    assert kept.tolist() == [0, 2, 3, 1]


def test_soft_oks_nms_keeps_at_most_twenty() -> None:
    shifts = [30.0 * index for index in range(25)]
    scores = np.linspace(1.0, 0.1, 25)
    kept = soft_oks_nms(column(shifts), scores, np.full(25, 18.0), sigmas=SIGMAS, threshold=0.9)
    assert kept.tolist() == list(range(20))


@settings(max_examples=50, derandomize=True, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.floats(0.05, 1.0))
def test_nms_leaves_no_overlap_and_drops_only_for_a_better_pose(
    seed: int, n: int, threshold: float
) -> None:
    rng = np.random.default_rng(seed)
    points, areas = rng.uniform(0, 8, (n, 2, 2)), rng.uniform(10, 90, n)
    scores = rng.permutation(n) / 10
    kept = oks_nms(points, scores, areas, sigmas=SIGMAS, threshold=threshold)
    overlaps = np.array(
        [
            pose_overlap(point, points, area=area, other_areas=areas, sigmas=SIGMAS)
            for point, area in zip(points, areas, strict=True)
        ]
    ).reshape(n, n)
    np.fill_diagonal(overlaps, 0)
    assert (overlaps[np.ix_(kept, kept)] <= threshold).all()
    assert (np.diff(scores[kept]) < 0).all()
    for index in set(range(n)) - set(kept.tolist()):
        better = [k for k in kept if scores[k] > scores[index]]
        assert overlaps[index, better].max() > threshold


def soft_by_definition(
    points: np.ndarray, scores: np.ndarray, areas: np.ndarray, threshold: float, limit: int
) -> list[int]:
    current = dict(enumerate(scores.tolist()))
    kept: list[int] = []
    while current and len(kept) < limit:
        best = max(current, key=lambda index: current[index])
        del current[best]
        kept.append(best)
        for index in current:
            overlap = pose_overlap(
                points[best],
                points[[index]],
                area=areas[best],
                other_areas=areas[[index]],
                sigmas=SIGMAS,
            )[0]
            current[index] *= np.exp(-(overlap**2) / threshold)
    return kept


@settings(max_examples=50, derandomize=True, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(0, 12), st.floats(0.05, 1.0), st.sampled_from([3, 20])
)
def test_soft_oks_nms_equals_its_definition(
    seed: int, n: int, threshold: float, limit: int
) -> None:
    rng = np.random.default_rng(seed)
    points, areas, scores = rng.uniform(0, 8, (n, 2, 2)), rng.uniform(10, 90, n), rng.random(n)
    kept = soft_oks_nms(points, scores, areas, sigmas=SIGMAS, threshold=threshold, max_kept=limit)
    assert kept.tolist() == soft_by_definition(points, scores, areas, threshold, limit)


def test_suppress_works_image_by_image() -> None:
    poses = predictions([0.0, 0.9, 0.0, 0.9, 30.0], [9, 9, 7, 9, 7])  # 0.9 px apart: 0.914
    scores = np.array([0.5, 0.9, 0.3, 0.7, 0.8])
    kept, kept_scores = suppress(poses, scores, method="oks", threshold=0.9, sigmas=SIGMAS)
    assert kept.instance_ids.tolist() == [4, 2, 1]
    assert kept.image_ids.tolist() == [7, 7, 9]
    assert kept_scores.tolist() == [0.8, 0.3, 0.9]


def test_suppress_soft_keeps_the_scores() -> None:
    poses = predictions([0.0, 0.0, 30.0], [1, 1, 1])
    scores = np.array([0.9, 0.8, 0.5])
    kept, kept_scores = suppress(poses, scores, method="soft_oks", threshold=0.9, sigmas=SIGMAS)
    assert kept.instance_ids.tolist() == [0, 2, 1]
    assert kept_scores.tolist() == [0.9, 0.5, 0.8]


def test_suppress_none_changes_nothing() -> None:
    poses = predictions([0.0, 0.0], [2, 1])
    scores = np.array([0.1, 0.2])
    kept, kept_scores = suppress(poses, scores, method="none", threshold=0.9, sigmas=SIGMAS)
    assert kept is poses
    assert kept_scores is scores


@pytest.mark.parametrize("method", ["oks", "soft_oks", "none"])
def test_suppress_of_nothing(method: Any) -> None:
    kept, scores = suppress(
        predictions([], []), np.zeros(0), method=method, threshold=0.9, sigmas=SIGMAS
    )
    assert (len(kept), len(scores)) == (0, 0)


def test_suppress_refuses_what_it_does_not_know() -> None:
    poses, scores = predictions([0.0], [1]), np.ones(1)
    with pytest.raises(ValueError, match=r"NMS method 'hard' is unknown; known: \['none', 'oks'"):
        suppress(poses, scores, method="hard", threshold=0.9, sigmas=SIGMAS)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"threshold must be above 0, got 0\.0"):
        suppress(poses, scores, method="oks", threshold=0.0, sigmas=SIGMAS)


def test_suppress_refuses_non_finite_poses() -> None:
    poses = predictions([0.0, np.nan], [1, 3])
    with pytest.raises(UserError, match=r"1 of 2 predictions .*image 3 instance 1"):
        suppress(poses, np.ones(2), method="oks", threshold=0.9, sigmas=SIGMAS)


def test_the_best_of_every_image_stay_in_their_order() -> None:
    poses = predictions([0, 1, 2, 3, 4, 5], [2, 1, 2, 2, 2, 1])
    scores = np.array([0.5, 0.1, 0.9, 0.5, 0.2, 0.3])
    kept, kept_scores = keep_scored(poses, scores, count=2)
    assert kept.instance_ids.tolist() == [0, 1, 2, 5]  # of equal scores the first
    assert kept_scores.tolist() == [0.5, 0.1, 0.9, 0.3]
    nobody, none = keep_scored(predictions([], []), np.zeros(0))
    assert len(nobody) == len(none) == 0


def test_coco_does_not_miss_what_is_left_out() -> None:
    rng = np.random.default_rng(0)
    raw = json.loads((GOLDEN / "case1_instances_raw.json").read_text())
    repeated = [each for each in raw for _ in range(30)]
    n = len(repeated)
    poses = PosePredictions(
        image_ids=np.array([each["image_id"] for each in repeated]),
        instance_ids=np.arange(n),
        keypoints=np.array([each["keypoints"] for each in repeated]) + rng.normal(0, 8, (n, 1, 2)),
        keypoint_scores=np.ones((n, 17)),
        box_scores=np.ones(n),
        areas=np.array([each["area"] for each in repeated]),
    )
    scores = rng.integers(0, 30, n) / 30
    kept, kept_scores = keep_scored(poses, scores)
    assert len(kept) < n
    all_of_them, best = (
        evaluate_keypoints(
            GOLDEN / "gt.json", to_coco_results(*pair, category_id=1), sigmas=COCO_17.sigmas
        )
        for pair in ((poses, scores), (kept, kept_scores))
    )
    assert all_of_them == pytest.approx(best, abs=0, nan_ok=True)
    assert 0 < best["AP"] < 1
