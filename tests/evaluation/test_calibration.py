import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpn.errors import UserError
from cpn.evaluation import evaluate_keypoints, read_ground_truth
from cpn.evaluation.calibration import (
    Rescaling,
    calibration_error,
    calibration_report,
    isotonic_levels,
    rank_correlation,
    reliability,
    result_qualities,
)
from cpn.evaluation.diagnosis import diagnose
from cpn.skeleton import COCO_17

SCORES = np.array([0.05, 0.15, 0.95, 1.0])
QUALITIES = np.array([0.0, 0.35, 0.75, 1.0])


def test_bins_by_hand() -> None:
    low, high = reliability(SCORES, QUALITIES, num_bins=2)
    assert (low.low, low.high, low.poses, high.low, high.high, high.poses) == (0, 0.5, 2, 0.5, 1, 2)
    assert (low.mean_score, low.mean_oks) == pytest.approx((0.1, 0.175))
    assert (high.mean_score, high.mean_oks) == pytest.approx((0.975, 0.875))
    assert calibration_error([low, high]) == pytest.approx((0.075 + 0.1) / 2)


def test_bins_reach_the_highest_score_and_may_be_empty() -> None:
    bins = reliability(np.array([0.5, 3.0]), np.array([0.5, 1.0]), num_bins=3)
    assert [(each.low, each.high, each.poses) for each in bins] == [(0, 1, 1), (1, 2, 0), (2, 3, 1)]
    assert math.isnan(bins[1].mean_oks)
    assert calibration_error(bins) == pytest.approx((0 + 2) / 2)
    nothing = reliability(np.zeros(0), np.zeros(0))
    assert sum(each.poses for each in nothing) == 0
    assert math.isnan(calibration_error(nothing))


def test_bins_reach_the_lowest_score() -> None:
    bins = reliability(np.array([-3.0, 0.5]), np.array([0.0, 0.5]), num_bins=2)
    assert [(each.low, each.high, each.poses) for each in bins] == [(-3, -1, 1), (-1, 1, 1)]


def test_an_edge_belongs_to_the_bin_above() -> None:
    assert [each.poses for each in reliability(np.array([0.5]), np.ones(1), num_bins=2)] == [0, 1]


def test_rank_correlation_by_hand() -> None:
    assert rank_correlation(SCORES, QUALITIES) == pytest.approx(1.0)
    assert rank_correlation(SCORES, -QUALITIES) == pytest.approx(-1.0)
    # ranks 0, 1, 2 and, with a tie, 0.5, 0.5, 2: covariance 1.5, deviations sqrt(2), sqrt(1.5)
    tied = rank_correlation(np.array([1.0, 2.0, 9.0]), np.array([3.0, 3.0, 4.0]))
    assert tied == pytest.approx(1.5 / math.sqrt(2 * 1.5))
    assert math.isnan(rank_correlation(np.ones(3), QUALITIES[:3]))
    assert math.isnan(rank_correlation(np.zeros(0), np.zeros(0)))


def test_isotonic_by_hand() -> None:
    scores, levels = isotonic_levels(np.array([3.0, 1.0, 2.0, 4.0]), np.array([0.2, 0.1, 0.6, 0.9]))
    assert scores.tolist() == [1.0, 2.5, 4.0]  # 0.6 at 2 and 0.2 at 3 are pooled
    np.testing.assert_allclose(levels, [0.1, 0.4, 0.9])
    scores, levels = isotonic_levels(np.array([1.0, 2.0, 3.0]), np.array([0.9, 0.5, 0.1]))
    assert scores.tolist() == [2.0]
    np.testing.assert_allclose(levels, [0.5])
    scores, levels = isotonic_levels(np.array([1.0, 1.0, 2.0]), np.array([0.2, 0.4, 0.3]))
    np.testing.assert_allclose((scores, levels), ([4 / 3], [0.3]))


@settings(derandomize=True, max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_rescaling_keeps_order_and_mean(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 40, count) / 20
    qualities = rng.uniform(0, 1, count)
    rescaling = Rescaling.fit("box", scores, qualities)
    assert (np.diff(rescaling.scores) > 0).all()
    assert (np.diff(rescaling.expected_oks) > 0).all()
    anything = np.sort(rng.uniform(-0.5, 3.0, 100))
    assert (np.diff(rescaling(anything)) > 0).all()
    np.testing.assert_array_equal(
        np.unique(scores, return_inverse=True)[1],
        np.unique(rescaling(scores), return_inverse=True)[1],
    )


def test_rescaling_by_hand(tmp_path: Path) -> None:
    rescaling = Rescaling.fit("box", SCORES, QUALITIES)
    np.testing.assert_allclose(rescaling(SCORES), QUALITIES, atol=2e-6)
    np.testing.assert_allclose(rescaling(np.array([0.1, 0.0, 9.0])), [0.175, 0, 1], atol=1e-5)
    rescaling.save(tmp_path / "r.json")
    again = Rescaling.load(tmp_path / "r.json", score="box")
    assert again(SCORES).tolist() == rescaling(SCORES).tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "x"}, "is no rescaling of scores; give what evaluate.py wrote"),
        ({"version": 2}, "is no rescaling of scores"),
        ({"scores": [0.1]}, "is no rescaling of scores"),
        ({"scores": [0.1, 0.1, 0.2, 0.3]}, "is no rescaling of scores"),
        ({"expected_oks": [0.4, 0.3, 0.5, 0.6]}, "is no rescaling of scores"),
        ({"scores": [], "expected_oks": []}, "it is empty"),
        ({"scores": "x"}, "Expected `array`"),
        ({"score": "keypoint"}, r"fitted to postprocess\.score=keypoint, not to box; use the same"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "r.json"
    Rescaling.fit("box", SCORES, QUALITIES).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        Rescaling.load(path, score="box")


def test_no_pose_gives_no_rescaling() -> None:
    with pytest.raises(UserError, match="cannot be fitted to no poses"):
        Rescaling.fit("box", np.zeros(0), np.zeros(0))


def points_at(document: Any, index: int, *, shift: float = 0.0) -> np.ndarray:
    keypoints = np.reshape(document["annotations"][index]["keypoints"], (17, 3))
    return np.asarray(keypoints[:, :2] + shift)


def qualities(document: Any, *poses: tuple[int, np.ndarray, float]) -> np.ndarray:
    """Of (image id, (17, 2) points, score)."""
    results = [
        {
            "image_id": image_id,
            "category_id": 1,
            "keypoints": np.c_[points, np.ones(17)].ravel().tolist(),
            "score": score,
        }
        for image_id, points, score in poses
    ]
    return result_qualities(diagnose(read_ground_truth(document), results, COCO_17))


def test_every_person_is_matched_once_best_score_first(document: Any) -> None:
    found = qualities(
        document,
        (7, points_at(document, 0), 0.3),
        (7, points_at(document, 0), 0.9),
        (7, points_at(document, 1), 0.5),
        (9, points_at(document, 2), 0.1),
    )
    # The second takes the first person; for the first nobody is left.
    assert found == pytest.approx([0.0, 1.0, 1.0, 1.0])


def test_ignored_people_and_photos_of_nobody(document: Any) -> None:
    document["images"].append({"id": 8, "file_name": "c.jpg"})
    found = qualities(
        document,
        (9, points_at(document, 2), 0.9),
        (9, np.full((17, 2), [250.0, 60.0]), 0.8),  # in the crowd
        (9, np.full((17, 2), 2000.0), 0.7),
        (8, points_at(document, 2), 1.0),
    )
    np.testing.assert_allclose(found, [1.0, np.nan, 0.0, 0.0])
    assert qualities(document).shape == (0,)


def test_only_the_best_of_an_image_count(document: Any) -> None:
    away = [(7, np.full((17, 2), 2000.0), 0.9) for _ in range(20)]
    found = qualities(document, (7, points_at(document, 0), 0.1), *away)
    np.testing.assert_array_equal(found, [np.nan] + [0.0] * 20)


def test_rescaling_changes_no_average_precision(document: Any, perfect: Any) -> None:
    rng = np.random.default_rng(0)
    results = [result for result in perfect(document) for _ in range(5)]
    results = [
        result | {"keypoints": (np.array(result["keypoints"]) + rng.normal(0, 9)).tolist()}
        for result in results
    ]
    scores = rng.uniform(0, 1, len(results))
    rescaled = Rescaling.fit("box", scores, rng.uniform(0, 1, len(results)))(scores)
    before, after = (
        evaluate_keypoints(
            document,
            [r | {"score": s} for r, s in zip(results, given_scores.tolist(), strict=True)],
            sigmas=COCO_17.sigmas,
        )
        for given_scores in (scores, rescaled)
    )
    assert before == pytest.approx(after, abs=0, nan_ok=True)
    assert 0 < before["AP"] < 1


def test_report() -> None:
    rng = np.random.default_rng(0)
    qualities = rng.uniform(0, 1, 4000)
    report = calibration_report(qualities**2, qualities, np.arange(4000), score="box")
    assert report["poses"] == 4000
    assert report["spearman"] == pytest.approx(1.0)
    assert report["expected_calibration_error"] == pytest.approx(1 / 2 - 1 / 3, abs=0.01)
    assert report["rescaled_error"] < 0.005
    assert len(report["bins"]) == 10
    ignored = calibration_report(np.ones(2), np.array([np.nan, 1.0]), np.arange(2), score="box")
    assert ignored["poses"] == 1
    assert ignored["expected_calibration_error"] == 0
    assert math.isnan(ignored["rescaled_error"])
