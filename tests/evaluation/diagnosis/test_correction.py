import numpy as np
import pytest

from cpn.evaluation.diagnosis import Correction, KeypointError, Placement, diagnose
from cpn.evaluation.ground_truth import GroundTruth
from cpn.evaluation.oks import keypoint_similarities
from cpn.evaluation.results import KeypointResult
from tests.evaluation.diagnosis.scenes import (
    BODY,
    SKELETON,
    Points,
    moved,
    person,
    result,
    scorer,
    truth,
)

FAR = moved(BODY, x=1000.0)
# The head 6 off: jitter; the left hand 7 off the right one's place: inversion; the right one lost.
WRONG: Points = [(50.0, -6.0), (107.0, 50.0), (100.0, 500.0)]
SPARED = [result(moved(BODY, y=900.0), score=0.1), result(FAR, score=0.9)]


def corrected(
    people: GroundTruth, results: list[KeypointResult]
) -> tuple[Correction, list[KeypointResult]]:
    return Correction.none(diagnose(people, results, SKELETON)), results


def mended(kind: KeypointError, placement: Placement) -> list[tuple[float, float]]:
    nothing, _ = corrected(truth(person(1)), [*SPARED, result(WRONG)])
    records = nothing.keypoints_mended(kind, placement).results()
    assert records[:2] == SPARED  # who is right is left as it was
    assert records[2].keypoints[2::3] == [0.7] * 3
    return list(zip(records[2].keypoints[::3], records[2].keypoints[1::3], strict=True))


@pytest.mark.parametrize(
    ("kind", "index"),
    [(KeypointError.JITTER, 0), (KeypointError.INVERSION, 1), (KeypointError.MISS, 2)],
)
def test_only_keypoints_with_the_mistake_go_to_the_truth(kind: KeypointError, index: int) -> None:
    expected = list(WRONG)
    expected[index] = BODY[index]
    assert mended(kind, "truth") == expected


@pytest.mark.parametrize(
    ("kind", "index", "similarity"),
    [
        (KeypointError.JITTER, 0, 0.85),
        (KeypointError.INVERSION, 1, np.exp(-0.49)),  # 7 pixels, as it was from the wrong hand
        (KeypointError.MISS, 2, 0.5),
    ],
)
def test_as_in_the_paper_they_keep_a_distance(
    kind: KeypointError, index: int, similarity: float
) -> None:
    offset = np.array(mended(kind, "paper")[index]) - BODY[index]
    assert offset @ (np.array(WRONG[index]) - BODY[index]) > 0  # towards the prediction
    found = keypoint_similarities(offset[None], areas=np.array(50.0), sigmas=(0.5,))
    np.testing.assert_allclose(found, [similarity])


def test_a_swap_as_in_the_paper_keeps_the_similarity_it_had_with_the_other_person() -> None:
    """10 off the hand of a person of area 200 is exp(-1 / 4); for area 50 that is 5 pixels off."""
    people = truth(person(1), person(2, FAR, area=200.0))
    nothing, _ = corrected(people, [result([BODY[0], (1010.0, 50.0), BODY[2]])])
    (record,) = nothing.keypoints_mended(KeypointError.SWAP, "paper").results()
    np.testing.assert_allclose(record.keypoints[3:5], [5.0, 50.0])


def test_nothing_mended_is_what_was_given_without_what_is_beyond_20() -> None:
    results = [result(moved(BODY, y=50.0 * index), score=0.9 - index / 100) for index in range(25)]
    people = truth(person(1), person(2, FAR, crowd=True))
    nothing, _ = corrected(people, results)
    assert nothing.results() == results[:20]
    assert nothing.truth() is people


def test_scores_are_put_in_the_best_order() -> None:
    nothing, _ = corrected(truth(person(1)), [result(moved(BODY, y=6.0), score=0.9), result()])
    worse, better = nothing.scores_mended().results()
    assert [worse.score, better.score] == pytest.approx([np.exp(-0.36) - 1, 1.0])
    assert worse.keypoints == result(moved(BODY, y=6.0)).keypoints


def test_false_positives_are_removed_also_those_on_crowds() -> None:
    people = truth(person(1), person(2, moved(BODY, y=600.0), crowd=True))
    crowd = result(moved(BODY, y=600.0))
    nothing, results = corrected(people, [result(score=0.9), result(FAR), crowd, result()])
    assert nothing.false_positives_removed().results() == results[:1]


def test_a_double_that_is_right_where_the_first_one_fails_stays_until_the_scores_are_mended() -> (
    None
):
    """The first has OKS 0.70, its double 1: from threshold 0.75 on the double is right."""
    results = [result(moved(BODY, y=6.0), score=0.9), result(score=0.8)]
    nothing, _ = corrected(truth(person(1)), results)
    assert nothing.false_positives_removed().results() == results
    assert len(nothing.scores_mended().false_positives_removed().results()) == 1


def test_a_bad_detection_of_a_person_is_no_false_positive() -> None:
    nothing, results = corrected(truth(person(1)), [result(moved(BODY, y=15.0))])  # OKS 0.105
    assert nothing.false_positives_removed().results() == results


def test_who_is_not_found_is_ignored() -> None:
    people = truth(person(1), person(2, FAR), person(3, moved(BODY, y=600.0), v=(0, 0, 0)))
    nothing, _ = corrected(people, [result()])
    fixed = nothing.false_negatives_ignored().truth()
    assert [p.iscrowd for p in fixed.persons] == [0, 1, 0]
    assert [p.iscrowd for p in people.persons] == [0, 0, 0]
    assert nothing.evaluated(scorer())["AR"] == 0.5
    assert nothing.false_negatives_ignored().evaluated(scorer())["AR"] == 1
