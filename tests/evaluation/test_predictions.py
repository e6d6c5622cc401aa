from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpn.errors import UserError
from cpn.evaluation import (
    PosePredictions,
    check_complete,
    evaluate_keypoints,
    to_coco_results,
)
from cpn.skeleton import COCO_17


def predictions(n: int, k: int = 17, seed: int = 0) -> PosePredictions:
    rng = np.random.default_rng(seed)
    return PosePredictions(
        image_ids=np.arange(n, dtype=np.int64) // 3,
        instance_ids=np.arange(n, dtype=np.int64) + 100,
        keypoints=rng.uniform(0, 200, (n, k, 2)),
        keypoint_scores=rng.random((n, k)),
        box_scores=np.full(n, 0.5),
        areas=np.full(n, 5000.0),
    )


def test_wrong_shapes_are_refused() -> None:
    good = predictions(2)
    with pytest.raises(ValueError, match=r"areas has shape \(1,\), expected \(2,\)"):
        PosePredictions(
            good.image_ids,
            good.instance_ids,
            good.keypoints,
            good.keypoint_scores,
            good.box_scores,
            good.areas[:1],
        )


@settings(max_examples=40, derandomize=True, deadline=None)
@given(st.integers(0, 12), st.integers(1, 4), st.randoms(use_true_random=False))
def test_concatenate_gives_one_order_for_any_split(n: int, ranks: int, shuffler: Any) -> None:
    whole = predictions(n)
    order = list(range(n))
    shuffler.shuffle(order)
    parts = [whole.take(np.array(order[rank::ranks], dtype=np.intp)) for rank in range(ranks)]
    joined = PosePredictions.concatenate(parts)
    np.testing.assert_array_equal(joined.instance_ids, whole.instance_ids)
    np.testing.assert_array_equal(joined.keypoints, whole.keypoints)
    check_complete(joined.instance_ids, whole.instance_ids)


@pytest.mark.parametrize("n", [1, 2, 7, 21])
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_sharded_ap_equals_the_ap_of_one_process(n: int, ranks: int) -> None:
    whole = predictions(n, seed=n)
    rng = np.random.default_rng(n)
    truths = whole.keypoints + rng.normal(0, 4, whole.keypoints.shape)
    document = {
        "images": [{"id": i} for i in range(7)],
        "categories": [{"id": 1, "keypoints": list(COCO_17.keypoint_names)}],
        "annotations": [
            {
                "id": int(whole.instance_ids[i]),
                "image_id": int(whole.image_ids[i]),
                "category_id": 1,
                "bbox": [0.0, 0.0, 200.0, 200.0],
                "area": 5000.0,
                "keypoints": np.c_[truths[i], np.full(17, 2)].ravel().tolist(),
            }
            for i in range(n)
        ],
    }

    def evaluate(joined: PosePredictions) -> dict[str, float]:
        tied = np.full(n, 0.5)  # the hardest case: the order decides who is ranked first
        results = to_coco_results(joined, tied, category_id=1)
        return evaluate_keypoints(document, results, sigmas=COCO_17.sigmas)

    # rank::world, as the loader shards; ranks beyond n hold nothing
    parts = [whole.take(np.arange(rank, n, ranks)) for rank in range(ranks)]
    sharded = evaluate(PosePredictions.concatenate(parts))
    assert sharded["AP"] > 0.1
    np.testing.assert_equal(sharded, evaluate(whole))


def test_non_finite_predictions_are_named() -> None:
    bad = predictions(8)
    bad.keypoints[4, 3, 1] = np.nan
    bad.keypoint_scores[6, 0] = np.inf
    bad.areas[7] = np.nan
    message = (
        "3 of 8 predictions have non-finite .*image 1 instance 104, image 2 instance 106,"
        " image 2 instance 107"
    )
    with pytest.raises(UserError, match=message):
        bad.check_finite()
    with pytest.raises(UserError, match=message):
        to_coco_results(bad, np.ones(8), category_id=1)


def test_complete_predictions_pass_in_any_order() -> None:
    check_complete([3, 1, 2], [1, 2, 3])
    check_complete([], [])


def test_every_kind_of_incompleteness_is_named() -> None:
    with pytest.raises(
        UserError,
        match=r"1 missing \(first: \[3\]\); 1 more than once \(first: \[1\]\); 1 not expected"
        r" \(first: \[9\]\)",
    ):
        check_complete(np.array([1, 1, 2, 9]), [1, 2, 3])
