import math

import numpy as np
import pytest

from cpn.evaluation import COCO_METRICS
from cpn.evaluation.bootstrap import bootstrap, paired_bootstrap, resampled_statistics
from cpn.evaluation.matching import Matches
from tests.bootstrap_coverage import coverage, draw
from tests.evaluation.test_matching import matches

AR = COCO_METRICS.index("AR")


def some(images: int = 60, seed: int = 0) -> tuple[Matches, Matches]:
    return draw(np.random.default_rng(seed), images)


def test_recall_of_two_images_by_hand() -> None:
    # One person each, one found: a resample's recall is 0, 1/2 or 1, with chances 1/4, 1/2, 1/4.
    one = matches([[True, False]] * 2, [0, 1], [0, 1])
    drawn = resampled_statistics([one], resamples=4000, seed=0)[0, :, AR]
    shares = [float((drawn == value).mean()) for value in (0.0, 0.5, 1.0)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    assert bootstrap(one, resamples=400)["AR"] == (0.5, 0.0, 1.0)


def test_intervals_hold_the_number_and_shrink_with_the_data() -> None:
    few, many = (bootstrap(some(images)[0], resamples=200) for images in (60, 960))
    assert tuple(few) == COCO_METRICS
    for name in ("AP", "AP75", "APM", "APL", "AR"):
        assert few[name].low < few[name].value < few[name].high
    widths = [found["AP"].high - found["AP"].low for found in (few, many)]
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.4)  # the square root of 16


def test_the_seed_decides() -> None:
    one = some()[0]
    first, again, other = (bootstrap(one, resamples=50, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_higher_confidence_is_a_longer_interval() -> None:
    one = some()[0]
    usual, sure = (bootstrap(one, resamples=200, confidence=c)["AP"] for c in (0.8, 0.99))
    assert sure.low < usual.low < usual.high < sure.high


def test_no_people_of_a_class_is_nan() -> None:
    one = matches([[True] * 2] * 2, [0, 1], [0, 1])
    nobody_large = Matches(
        **(vars(one) | {"counted": np.array([[True] * 2, [True] * 2, [False] * 2])})
    )
    found = bootstrap(nobody_large, resamples=20)
    assert all(math.isnan(number) for number in found["APL"])
    assert found["AP"] == pytest.approx((1.0, 1.0, 1.0))


def test_equal_results_do_not_differ() -> None:
    one = some()[0]
    for difference in paired_bootstrap(one, one, resamples=50).values():
        assert difference.difference == (0.0, 0.0, 0.0)
        assert difference.p_value == 1.0


def test_one_image_says_nothing_of_others() -> None:
    # The second image has neither people nor results: it is as if it were not there.
    found, lost = (matches([[right]] * 2, [0], [0]) for right in (True, False))
    interval = bootstrap(found, resamples=50)["AP"]
    assert interval.value == pytest.approx(1.0)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    difference = paired_bootstrap(lost, found, resamples=50)["AP"]
    assert difference.difference.value == pytest.approx(1.0)
    assert math.isnan(difference.difference.low)
    assert difference.p_value == 1.0


@pytest.mark.parametrize(("images", "p_value"), [(2, 0.5), (4, 0.125), (12, 2 / 1001)])
def test_few_images_cannot_show_much(images: int, p_value: float) -> None:
    # b finds the one person of every image, a nobody: in all resamples b is better.
    places = list(range(images))
    lost, found = (matches([[right] * images] * 2, places, places) for right in (False, True))
    assert paired_bootstrap(lost, found)["AR"].p_value == pytest.approx(p_value)


def test_pairing_cancels_what_both_find_hard() -> None:
    a, b = some(200)
    alone = bootstrap(a, resamples=300)["AP"]
    paired = paired_bootstrap(a, b, resamples=300)["AP"]
    assert paired.difference.value == pytest.approx(paired.second - paired.first)
    assert paired.difference.high - paired.difference.low < 0.75 * (alone.high - alone.low)


def test_a_better_model_is_told_apart() -> None:
    a = some(200)[0]
    # Half of what was missed at a threshold is found.
    luck = np.random.default_rng(0).random(len(a.scores)) < 0.5
    person = a.result_numbers < len(a.person_images)
    better = Matches(**(vars(a) | {"matched": a.matched | (luck & person)}))
    found = paired_bootstrap(a, better, resamples=200)["AP"]
    assert found.p_value == pytest.approx(2 / 201)
    assert found.difference.low > 0
    back = paired_bootstrap(better, a, resamples=200)["AP"]
    assert back.difference.value == pytest.approx(-found.difference.value)


def test_results_of_other_people_are_refused() -> None:
    with pytest.raises(ValueError, match="different images or people"):
        paired_bootstrap(some(seed=0)[0], some(seed=1)[0], resamples=10)


def test_coverage() -> None:
    # 95 % would be 24 of 25 data sets; fewer than 19 happen less than once in 10,000 times.
    found = coverage(sets=25, images=100, resamples=100)
    assert found.held[0] >= 19 / 25
    assert found.rejected[0] <= 6 / 25
