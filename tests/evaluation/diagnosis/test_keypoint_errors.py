import pytest

from cpn.evaluation.diagnosis import KeypointError, diagnose
from cpn.evaluation.ground_truth import Person
from cpn.skeleton import Skeleton
from tests.evaluation.diagnosis.scenes import (
    BODY,
    NAMES,
    ONE_SIDED,
    SKELETON,
    Points,
    moved,
    person,
    result,
    truth,
)

NONE, GOOD, JITTER, INVERSION, SWAP, MISS = KeypointError
FAR = moved(BODY, x=1000.0)


def kinds(
    points: Points, *people: Person, skeleton: Skeleton = SKELETON
) -> tuple[KeypointError, ...]:
    """Of the first person, whom the only result is of."""
    return diagnose(truth(*people), [result(points)], skeleton).persons[0].errors


@pytest.mark.parametrize(
    ("pixels", "kind"),
    [
        (0.0, GOOD),
        (4.03, GOOD),  # exp(-4.03^2 / 100) = 0.85010
        (4.04, JITTER),  # 0.84941
        (8.32, JITTER),  # 0.50046
        (8.33, MISS),  # 0.49962
        (1e300, MISS),
    ],
)
def test_the_distance_from_the_own_place_decides(pixels: float, kind: KeypointError) -> None:
    head = (50.0, -pixels)
    assert kinds([head, *BODY[1:]], person(1)) == (kind, GOOD, GOOD)


def test_hands_that_changed_places_are_inverted() -> None:
    head, left, right = BODY
    assert kinds([head, right, left], person(1)) == (GOOD, INVERSION, INVERSION)
    assert kinds([head, right, right], person(1)) == (GOOD, INVERSION, GOOD)


def test_near_the_wrong_hand_is_inverted_up_to_the_same_distance_as_a_jitter() -> None:
    head, _, (x, y) = BODY
    assert kinds([head, (x, y + 8.32), (x, y)], person(1))[1] is INVERSION
    assert kinds([head, (x, y + 8.33), (x, y)], person(1))[1] is MISS


@pytest.mark.parametrize(("theirs", "kind"), [(1, SWAP), (2, SWAP), (0, MISS)])
def test_on_another_person_s_hand_is_a_swap_on_either_side_but_on_the_head_a_miss(
    theirs: int, kind: KeypointError
) -> None:
    points = [BODY[0], FAR[theirs], BODY[2]]
    assert kinds(points, person(1), person(2, FAR)) == (GOOD, kind, GOOD)


def test_the_head_has_no_side() -> None:
    assert kinds([BODY[1], *BODY[1:]], person(1))[0] is MISS
    assert kinds([FAR[0], *BODY[1:]], person(1), person(2, FAR))[0] is SWAP


# The left hand lies at x = 0; places for it on a line, and which of them wins.
@pytest.mark.parametrize(
    ("partner", "other", "kind"),
    [
        (100.0, 3.9, GOOD),  # own similarity 0.85 is passed, though the other's place is hit
        (3.9, 100.0, GOOD),
        (100.0, 7.0, SWAP),  # the hand is 5 from its own place, 2 from the other's
        (7.0, 100.0, INVERSION),
        (7.0, 6.0, SWAP),
        (6.0, 7.0, INVERSION),
        (9.9, 100.0, INVERSION),
        (10.1, 100.0, JITTER),
        (100.0, 9.9, SWAP),
        (100.0, 10.1, JITTER),
    ],
)
def test_the_nearest_place_wins_unless_the_own_is_good(
    partner: float, other: float, kind: KeypointError
) -> None:
    hand = 3.9 if kind is GOOD else 5.0
    body = [(50.0, 0.0), (0.0, 50.0), (partner, 50.0)]
    second = [(900.0, 0.0), (other, 50.0), (900.0, 50.0)]
    found = kinds([body[0], (hand, 50.0), body[2]], person(1, body), person(2, second))
    assert found[1] is kind


def test_of_equally_near_places_the_own_comes_first_then_the_partner() -> None:
    hand: Points = [(50.0, 0.0), (5.0, 50.0), (0.0, 50.0)]
    theirs = person(2, [(900.0, 0.0), (0.0, 50.0), (0.0, 50.0)])
    assert kinds(hand, person(1, [(50.0, 0.0), (0.0, 50.0), (0.0, 50.0)]), theirs)[1] is JITTER
    assert kinds(hand, person(1, [(50.0, 0.0), (900.0, 50.0), (0.0, 50.0)]), theirs)[1] is INVERSION


def test_each_place_is_measured_on_its_own_scale() -> None:
    """9 pixels from the hand of a person of area 50 is far, of area 5000 near: exp(-81 / 10000)."""
    hand: Points = [BODY[0], (1009.0, 50.0), BODY[2]]
    assert kinds(hand, person(1), person(2, FAR))[1] is MISS
    assert kinds(hand, person(1), person(2, FAR, area=5000.0))[1] is SWAP


def test_each_place_has_its_own_sigma() -> None:
    """9 pixels from the right hand, whose sigma is twice the left one's: exp(-81 / 400) = 0.82."""
    skeleton = Skeleton(NAMES, ((1, 2),), (), (0.5, 0.5, 1.0))
    hand: Points = [BODY[0], (109.0, 50.0), BODY[2]]
    assert kinds(hand, person(1))[1] is MISS
    assert kinds(hand, person(1), skeleton=skeleton)[1] is INVERSION


def test_nothing_is_said_of_what_is_not_labelled_and_nothing_is_there_to_be_mistaken_for() -> None:
    head, _, right = BODY
    assert kinds([head, right, right], person(1, v=(2, 0, 2))) == (GOOD, NONE, GOOD)
    assert kinds([head, right, right], person(1, v=(2, 2, 0))) == (GOOD, MISS, NONE)
    hidden = person(2, FAR, v=(2, 0, 0))
    assert kinds([head, FAR[1], right], person(1), hidden)[1] is MISS
    assert (
        kinds([head, FAR[1], right], person(1, v=(1, 1, 1)), person(2, FAR, v=(1, 1, 1)))[1] is SWAP
    )


def test_one_may_swap_with_the_labelled_keypoints_of_a_crowd_and_not_across_images() -> None:
    hand = [BODY[0], FAR[1], BODY[2]]
    assert kinds(hand, person(1), person(2, FAR, crowd=True))[1] is SWAP
    elsewhere = truth(person(1), person(2, FAR, image_id=2), images=(1, 2))
    assert diagnose(elsewhere, [result(hand)], SKELETON).persons[0].errors[1] is MISS


def test_without_flip_pairs_there_is_no_inversion() -> None:
    head, left, right = BODY
    one_sided = kinds([head, right, left], person(1), skeleton=ONE_SIDED)
    assert one_sided == (GOOD, MISS, MISS)
    hand = [head, FAR[2], right]
    assert kinds(hand, person(1), person(2, FAR), skeleton=ONE_SIDED)[1] is MISS


def test_who_is_not_found_has_no_keypoint_errors() -> None:
    found = diagnose(truth(person(1)), [result(FAR)], SKELETON)
    assert found.persons[0].errors == (NONE, NONE, NONE)
