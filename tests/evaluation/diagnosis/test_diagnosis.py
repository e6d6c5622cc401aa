import math

import numpy as np
import pytest

from cpn.errors import UserError
from cpn.evaluation.diagnosis import KeypointError, diagnose
from cpn.evaluation.ground_truth import GroundTruth, Person
from cpn.evaluation.results import KeypointResult
from cpn.skeleton import COCO_17
from tests.evaluation.diagnosis.scenes import BODY, SKELETON, moved, person, result, truth

NONE, GOOD, JITTER, INVERSION, SWAP, MISS = KeypointError
FAR = moved(BODY, x=1000.0)


@pytest.fixture
def street() -> GroundTruth:
    """Image 1: two people and a crowd. Image 2: one whom nobody finds, one without keypoints."""
    return truth(
        person(11),
        person(12, moved(BODY, y=300.0)),
        person(13, moved(BODY, y=600.0), crowd=True),
        person(14, image_id=2),
        person(15, image_id=2, v=(0, 0, 0), box=(5000.0, 0.0, 100.0, 50.0)),
        images=(1, 2),
    )


RESULTS = [
    result([(50.0, 5.0), *BODY[1:]], score=0.9),  # 0: person 11, the head 5 off
    result(score=0.8),  # 1: person 11 again, better
    result(moved(BODY, y=300.0), score=0.3),  # 2: person 12
    result(moved(BODY, y=600.0), score=0.7),  # 3: the crowd
    result(FAR, score=0.6),  # 4: background
    result(moved(BODY, x=5000.0), score=0.5, image_id=2),  # 5: whom without keypoints
]


def test_everyone_is_told_with_match_oks_and_errors(street: GroundTruth) -> None:
    first, second, lost = diagnose(street, RESULTS, SKELETON).persons
    assert first.oks == pytest.approx((math.exp(-0.25) + 2) / 3)
    assert first == (11, 1, 0, first.oks, (JITTER, GOOD, GOOD), 1)
    assert second == (12, 1, 2, 1.0, (GOOD, GOOD, GOOD), None)
    assert lost == (14, 2, None, 0.0, (NONE, NONE, NONE), None)


def test_false_positives_are_doubles_or_background(street: GroundTruth) -> None:
    double, background = diagnose(street, RESULTS, SKELETON).false_positives
    assert double == (1, 1, 0.8, 1.0, 11)
    assert background == (4, 1, 0.6, 0.0, None)


def test_counts(street: GroundTruth) -> None:
    counts = diagnose(street, RESULTS, SKELETON).counts
    assert counts[:-1] == (3, 6, 2, 1, 1, 1, 2, 1)
    assert diagnose(street, RESULTS, SKELETON).oks[[2, 4]].tolist() == [0, 0]  # ignored
    expected = {
        GOOD: [1, 2, 2],
        JITTER: [1, 0, 0],
        INVERSION: [0] * 3,
        SWAP: [0] * 3,
        MISS: [0] * 3,
    }
    assert {kind: numbers.tolist() for kind, numbers in counts.keypoints.items()} == expected


def test_a_double_is_one_from_a_tenth_on() -> None:
    near, far = result(moved(BODY, y=15.1)), result(moved(BODY, y=15.2))  # 0.102, 0.099
    found = diagnose(truth(person(1)), [result(score=0.9), near, far], SKELETON).false_positives
    assert [(f.result, f.annotation_id) for f in found] == [(1, 1), (2, None)]


def test_more_than_20_detections_of_an_image_do_not_count() -> None:
    results = [result(FAR, score=0.9)] * 20 + [result(score=0.1)]
    found = diagnose(truth(person(1)), results, SKELETON)
    assert found.persons[0].result is None
    assert len(found.false_positives) == found.counts.detections == 20


def test_dicts_are_taken_as_well() -> None:
    record = {"image_id": 1, "category_id": 1, "score": 0.5, "keypoints": result().keypoints}
    assert diagnose(truth(person(1)), [record], SKELETON).persons[0].oks == 1


@pytest.mark.parametrize(
    ("people", "results", "counts"),
    [
        ([], [], (0, 0, 0, 0, 0, 0, 0, 0)),
        ([person(1)], [], (1, 0, 0, 1, 0, 0, 0, 0)),
        ([], [result()], (0, 1, 0, 0, 1, 0, 0, 0)),
        ([person(1, crowd=True)], [result(), result(FAR)], (0, 2, 0, 0, 1, 0, 1, 0)),
        ([person(1, v=(0, 0, 0), box=(0, 0, 1, 1))], [result(FAR)], (0, 1, 0, 0, 1, 0, 0, 0)),
        ([Person(1, 1, [], [0, 0, 100, 50], 0.0, 0)], [result()], (0, 1, 0, 0, 0, 0, 1, 0)),
        ([person(1, area=0.0)], [result()], (1, 1, 1, 0, 0, 0, 0, 0)),
    ],
)
def test_with_nobody_or_nothing_there(
    people: list[Person], results: list[KeypointResult], counts: tuple[int, ...]
) -> None:
    found = diagnose(truth(*people), results, SKELETON)
    assert found.counts[:-1] == counts
    assert len(found.persons) == counts[0]
    assert len(found.false_positives) == counts[4]


def test_the_order_of_results_and_people_does_not_matter(street: GroundTruth) -> None:
    rng = np.random.default_rng(0)
    order = rng.permutation(len(RESULTS)).tolist()
    shuffled = diagnose(street, [RESULTS[index] for index in order], SKELETON)
    original = diagnose(street, RESULTS, SKELETON)
    for a, b in zip(shuffled.persons, original.persons, strict=True):
        assert a.result == (None if b.result is None else order.index(b.result))
        assert (a.oks, a.errors) == (b.oks, b.errors)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match=r"record 0: keypoints has 9 numbers, expected 51"):
        diagnose(truth(person(1)), [result()], COCO_17)
    with pytest.raises(UserError, match=r"annotation 1 has 3 keypoints but the skeleton has 17"):
        diagnose(truth(person(1)), [], COCO_17)
    with pytest.raises(UserError, match=r"1 image_id values are not in the annotations"):
        diagnose(truth(person(1)), [result(image_id=5)], SKELETON)
