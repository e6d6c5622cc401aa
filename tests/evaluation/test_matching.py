from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cpn.evaluation.coco_api import CocoEvaluation
from cpn.evaluation.matching import Matches
from tests.evaluation.test_engines import random_document, random_results

AP, AP50, AR = 0, 1, 5


def matches(
    found: list[list[bool]],
    images: list[int],
    people: list[int],
    *,
    ignored: list[list[bool]] | None = None,
) -> Matches:
    """Two thresholds, .50 and .75; (2, D) `found` by falling score; all classes are the same."""
    ones = np.array(found, dtype=bool)
    zeros = np.zeros_like(ones) if ignored is None else np.array(ignored)
    return Matches(
        image_ids=np.arange(max([*images, *people]) + 1),
        thresholds=np.array([0.5, 0.75]),
        result_images=np.array(images, dtype=int),
        result_numbers=np.arange(len(images)),
        scores=np.linspace(1, 0, len(images)),
        matched=np.stack([ones] * 3),
        ignored=np.stack([zeros] * 3),
        person_images=np.array(people),
        counted=np.ones((3, len(people)), dtype=bool),
    )


def test_average_precision_by_hand() -> None:
    # Right, wrong, right of two people: precision 1 up to recall .5 (51 recalls), then 2/3 (50).
    half = matches([[True, False, True], [True, False, False]], [0, 0, 1], [0, 1])
    numbers = half.statistics()
    assert numbers[AP50] == pytest.approx((51 + 50 * 2 / 3) / 101)
    # At .75 only the first: precision 1 up to recall .5, then 0.
    assert numbers[2] == pytest.approx(51 / 101)
    assert numbers[AP] == pytest.approx(((51 + 50 * 2 / 3) / 101 + 51 / 101) / 2)
    assert numbers[AR] == pytest.approx((1.0 + 0.5) / 2)
    assert half.precisions()[0, 0, 0] == pytest.approx(1.0)


def test_an_ignored_result_is_neither_right_nor_wrong() -> None:
    found, images = [[False, True]] * 2, [0, 1]
    wrong = matches(found, images, [1])
    ignored = matches(found, images, [1], ignored=[[True, False]] * 2)
    assert (wrong.statistics()[AP], ignored.statistics()[AP]) == pytest.approx((0.5, 1.0))


def test_the_best_of_each_image_by_falling_score() -> None:
    found = matches([[True, False, True, True]] * 2, [1, 0, 1, 0], [0, 1, 1])
    best = found.best_of_each_image(1)
    assert best.result_numbers.tolist() == [0, 1]
    assert best.statistics()[AR] == pytest.approx(1 / 3)
    assert found.best_of_each_image(2).statistics()[AR] == pytest.approx(1.0)


def test_weights_stand_for_repeated_images() -> None:
    once = matches([[True, False, True]] * 2, [0, 1, 2], [0, 1, 2])
    # Image 1, with its wrong result and its person not found, twice; image 2 not at all.
    weighted = once.statistics(np.array([[1, 2, 0]]))[0]
    repeated = matches([[True, False, False]] * 2, [0, 1, 2], [0, 1, 2]).statistics()
    np.testing.assert_allclose(weighted, repeated)
    assert weighted[AP] == pytest.approx(34 / 101)  # recall 1/3: recalls 0 to .33


def test_nobody_to_find_gives_nan_in_that_resample_only() -> None:
    one = matches([[True]] * 2, [0], [0, 0])
    two = Matches(**(vars(one) | {"image_ids": np.arange(2)}))
    numbers = two.statistics(np.array([[0, 1], [1, 1]]))
    assert np.isnan(numbers[0]).all()
    assert numbers[1, AR] == 0.5


def test_nothing_found_is_zero_and_no_results_too() -> None:
    assert matches([[False]] * 2, [0], [0]).statistics().tolist() == [0.0] * 10
    nothing = matches([[], []], [], [0])
    assert nothing.statistics().tolist() == [0.0] * 10


def _evaluated(document: dict[str, Any], results: list[dict[str, Any]]) -> CocoEvaluation:
    return CocoEvaluation(document, results, kind="keypoints", engine="hotcoco")


def _repeated(
    document: dict[str, Any], results: list[dict[str, Any]], weights: npt.NDArray[np.int64]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The document and results with every image as often as its weight says, under new ids."""
    images, annotations, copies = [], [], []
    for image, weight in zip(sorted(document["images"], key=_id), weights, strict=True):
        for copy in range(weight):
            number = {"image_id": 10 * image["id"] + copy}
            images.append({"id": number["image_id"]})
            annotations += [a | number for a in document["annotations"] if _of(a, image)]
            copies += [r | number for r in results if _of(r, image)]
    annotations = [a | {"id": index + 1} for index, a in enumerate(annotations)]
    return document | {"images": images, "annotations": annotations}, copies


def _id(image: dict[str, Any]) -> int:
    return int(image["id"])


def _of(record: dict[str, Any], image: dict[str, Any]) -> bool:
    return bool(record["image_id"] == image["id"])


@pytest.mark.parametrize("seed", range(8))
def test_weights_are_what_a_new_evaluation_of_the_resample_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    document = random_document(rng, 17)
    results = random_results(rng, document, 17)
    # Different scores: which of two equal ones comes first is the images' order, by ids.
    scores = rng.random(len(results)).tolist()
    results = [r | {"score": score} for r, score in zip(results, scores, strict=True)]
    weights = rng.integers(0, 3, len(document["images"]))
    ours = _evaluated(document, results).matches().statistics(weights[None])[0]
    anew = _evaluated(*_repeated(document, results, weights)).statistics()
    np.testing.assert_allclose(ours, anew, rtol=0, atol=1e-12)
