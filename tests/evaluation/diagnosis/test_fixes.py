import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import pytest

from cpn.evaluation.diagnosis import Fixes, KeypointError, Mistake, diagnose, score_fixes
from cpn.evaluation.ground_truth import GroundTruth, Person
from cpn.evaluation.results import KeypointResult
from cpn.skeleton import COCO_17
from tests.error_recovery import PLACES, draw_people, with_keypoint_errors
from tests.evaluation.diagnosis.scenes import BODY, SKELETON, moved, person, result, scorer, truth

ELSEWHERE = 3000.0


def everything_wrong(seed: int, num_images: int = 40) -> tuple[GroundTruth, list[KeypointResult]]:
    """Each keypoint error in a quarter of the people; some lost, doubled, or made up."""
    rng = np.random.default_rng(seed)
    crowd = draw_people(num_images, rng)
    by_kind = [with_keypoint_errors(crowd, kind, rng)[0] for kind in PLACES]
    results = []
    for index in range(len(crowd.poses)):
        record = by_kind[index % 4][index]
        if index % 10:
            results.append(record)
        if index % 5 == 0:
            results.append(ghost(record))
        if index % 7 == 0:  # a double, better or worse, with a higher or a lower score
            double = by_kind[(index + index // 7) % 4][index]
            results.append(msgspec.structs.replace(double, score=rng.uniform(0.3, 0.9)))
    return crowd.truth, results


def ghost(record: KeypointResult) -> KeypointResult:
    keypoints = np.array(record.keypoints).reshape(-1, 3) + np.array([ELSEWHERE, 0, 0])
    return msgspec.structs.replace(record, keypoints=keypoints.ravel().tolist(), score=0.7)


def fixes(people: GroundTruth, results: Sequence[KeypointResult]) -> Fixes:
    return score_fixes(diagnose(people, results, COCO_17), scorer(COCO_17))


@pytest.mark.parametrize("seed", range(4))
def test_no_fix_lowers_ap_and_all_of_them_make_it_one(seed: int) -> None:
    people, results = everything_wrong(seed)
    found = fixes(people, results)
    assert found.baseline == scorer(COCO_17)(people, results)
    assert [fix.mistake for fix in found.fixes] == list(Mistake)
    assert min(found.gain(mistake) for mistake in Mistake) >= 0
    turns = [found.baseline["AP"], *(fix.progressive["AP"] for fix in found.fixes)]
    assert turns == sorted(turns)
    assert turns[0] < 0.8
    assert list(found.fixes[-1].progressive.values()) == pytest.approx([1.0] * 10)


def test_the_paper_s_placement_gains_less() -> None:
    people, results = everything_wrong(0)
    diagnosis = diagnose(people, results, COCO_17)
    full = score_fixes(diagnosis, scorer(COCO_17))
    paper = score_fixes(diagnosis, scorer(COCO_17), placement="paper")
    for mistake in (Mistake.MISS, Mistake.SWAP, Mistake.INVERSION, Mistake.JITTER):
        assert 0 < paper.gain(mistake) <= full.gain(mistake)
    assert paper.gain(Mistake.MISS) < full.gain(Mistake.MISS)
    assert paper.gain(Mistake.SCORE) == full.gain(Mistake.SCORE)


def test_each_fix_alone_and_in_turn_by_hand() -> None:
    """Two people. One found with a missed head, after a ghost; the other one lost.

    Only the ghost is above it, so precision is 1 / 2 while recall is up to 1 / 2 (51 of the 101
    recall steps), at the thresholds that its OKS of 2 / 3 reaches: 0.5 to 0.65, 4 of 10.
    """
    far = moved(BODY, x=1000.0)
    people = truth(person(1), person(2, far))
    results = [
        result(moved(BODY, y=ELSEWHERE), score=0.9),
        result([(50.0, -400.0), *BODY[1:]], score=0.5),
    ]
    found = score_fixes(diagnose(people, results, SKELETON), scorer())
    half = 51 / 101
    alone = {fix.mistake: fix.alone["AP"] for fix in found.fixes}
    assert found.baseline["AP"] == pytest.approx(0.4 * half / 2)
    assert alone == {
        Mistake.MISS: pytest.approx(half / 2),
        Mistake.SWAP: found.baseline["AP"],
        Mistake.INVERSION: found.baseline["AP"],
        Mistake.JITTER: found.baseline["AP"],
        Mistake.SCORE: pytest.approx(0.4 * half),
        Mistake.FALSE_POSITIVE: pytest.approx(0.4 * half),
        Mistake.FALSE_NEGATIVE: pytest.approx(0.4 / 2),
    }
    in_turn = [fix.progressive["AP"] for fix in found.fixes]
    assert in_turn == pytest.approx([half / 2] * 4 + [half] * 2 + [1.0])


@pytest.mark.parametrize(
    ("people", "results", "ap"),
    [
        ([], [], math.nan),
        ([], [result()], math.nan),
        ([person(1, crowd=True)], [result()], math.nan),
        ([person(1)], [], 0.0),
    ],
)
def test_with_nobody_or_nothing_there(
    people: list[Person], results: list[KeypointResult], ap: float
) -> None:
    found = score_fixes(diagnose(truth(*people), results, SKELETON), scorer())
    assert found.baseline["AP"] == pytest.approx(ap, nan_ok=True)
    gains = [found.gain(mistake) for mistake in Mistake]
    # the one whom nobody finds is ignored in the end: then nobody is there
    assert gains == pytest.approx([ap - ap] * 6 + [math.nan], nan_ok=True)


def test_the_evaluator_is_called_once_for_each_number_that_differs() -> None:
    calls = []

    def score(truth: GroundTruth, results: Sequence[KeypointResult]) -> Mapping[str, float]:
        calls.append(len(results))
        return {"AP": 0.5, "mine": 1.0}

    found = score_fixes(diagnose(truth(person(1)), [result()], SKELETON), score)
    assert len(calls) == 14
    assert found.gain(Mistake.JITTER, "mine") == 0


def test_mistakes_are_mended_in_the_order_of_the_paper() -> None:
    keypoints = ["miss", "swap", "inversion", "jitter"]
    assert list(Mistake) == [*keypoints, "score", "false_positive", "false_negative"]


def test_each_keypoint_error_has_its_mistake() -> None:
    names = {kind.name for kind in KeypointError if kind > KeypointError.GOOD}
    assert names < {mistake.name for mistake in Mistake}
