import math

import numpy as np
import pytest
from scipy import stats

from cpn.ablation.outcome import Gap
from cpn.ablation.statistics import Figures, adjusted, estimate, gap, seed_spread
from tests.ablation_coverage import World, coverage


def figures(values: list[float], drawn: list[list[float]], *, trainings: str = "") -> Figures:
    seeds = tuple(range(len(values)))
    return Figures(
        seeds=seeds,
        trainings=tuple(f"{trainings or values}/{seed}" for seed in seeds),
        values=np.array(values)[:, None],
        resampled=np.array(drawn)[..., None],
    )


def test_the_variance_of_seeds_is_pooled_over_variants() -> None:
    """Squares 2 (0.5, 0.5 about 1: two seeds) and 8 with one degree of freedom each: 5."""
    first = figures([0.0, 2.0], [[0.0, 0.0], [2.0, 2.0]])
    second = figures([0.0, 4.0], [[0.0, 0.0], [4.0, 4.0]])
    single = figures([9.0], [[9.0, 9.0]])
    assert seed_spread([first, second, single], 0)[:2] == (5.0, 2)
    assert math.isnan(seed_spread([single], 0).variance)


def test_variants_that_share_their_trainings_count_once() -> None:
    first = figures([0.0, 2.0], [[0.0], [2.0]], trainings="same")
    second = figures([0.0, 4.0], [[0.0], [4.0]], trainings="same")
    assert seed_spread([first, second], 0).freedom == 1


def test_an_interval_by_hand() -> None:
    """Images do nothing here: variance of the mean 2 / 2 = 1, one degree of freedom."""
    own = figures([0.0, 2.0], [[0.0, 0.0], [2.0, 2.0]])
    found = estimate(own, 0, seed_spread([own], 0), confidence=0.95)
    assert found.value == 1.0
    assert found.high - 1.0 == pytest.approx(12.706, abs=1e-3)  # of Student's table
    assert 1.0 - found.low == pytest.approx(12.706, abs=1e-3)


def test_a_single_seed_has_the_interval_of_its_images() -> None:
    """Deviation of 1, -1 is 1: the normal distribution's 1.96."""
    own = figures([5.0], [[4.0, 6.0]])
    found = estimate(own, 0, seed_spread([own], 0), confidence=0.95)
    assert found.high - 5.0 == pytest.approx(1.95996, abs=1e-4)


def test_what_the_images_do_to_both_cancels_out() -> None:
    hard = [0.0, -3.0, 3.0]
    baseline = figures([0.0, 0.2], [hard, [x + 0.2 for x in hard]])
    better = figures([1.0, 1.2], [[x + 1.0 for x in hard], [x + 1.2 for x in hard]])
    spread = seed_spread([baseline, better], 0)
    found = gap(better, baseline, 0, spread, confidence=0.95)
    # Variance 0.02 by two degrees of freedom, halved twice: error sqrt(0.02).
    half = float(stats.t.ppf(0.975, 2)) * math.sqrt(0.02)
    assert found.value == pytest.approx(1.0)
    assert found.high - found.value == pytest.approx(half)
    assert found.p_value == pytest.approx(2 * float(stats.t.sf(1 / math.sqrt(0.02), 2)))


def test_what_images_do_to_one_network_is_counted_once() -> None:
    """The seeds' variance holds it already; images alone would add as much again."""
    random = np.random.default_rng(0)
    values = random.normal(0, 1, 50)
    own = figures(values.tolist(), random.normal(0, 1, (50, 2000)).tolist())
    spread = seed_spread([own], 0)
    assert spread.own == pytest.approx(1.0, rel=0.05)
    found = estimate(own, 0, spread, confidence=0.95)
    half = float(stats.t.ppf(0.975, 49)) * math.sqrt(values.var(ddof=1) / 50)
    assert found.high - found.value == pytest.approx(half, rel=0.03)


def test_shared_trainings_are_compared_seed_by_seed() -> None:
    """Seeds move both by 10; the difference is 1 and 1.2, variance 0.02 / 2."""
    baseline = figures([0.0, 10.0], [[0.0, 0.0], [10.0, 10.0]], trainings="x")
    other = figures([1.0, 11.2], [[1.0, 1.0], [11.2, 11.2]], trainings="x")
    spread = seed_spread([baseline, other], 0)
    found = gap(other, baseline, 0, spread, confidence=0.95)
    assert found.high - found.value == pytest.approx(12.706 * 0.1, abs=1e-3)


def test_equal_results_differ_by_nothing() -> None:
    own = figures([1.0], [[1.0, 2.0]])
    assert gap(own, own, 0, seed_spread([own], 0), confidence=0.95) == (0.0, 0.0, 0.0, 1.0, 1.0)


def test_unknown_numbers_stay_unknown() -> None:
    own = figures([math.nan], [[math.nan, math.nan]])
    found = estimate(own, 0, seed_spread([own], 0), confidence=0.95)
    assert all(math.isnan(value) for value in found)


def test_p_values_are_raised_as_holm_does() -> None:
    """0.01 * 3, then 0.02 * 2, then 0.03 * 1 but not below the one before; NaN stays out."""
    given = {"c": 0.03, "a": 0.01, "b": 0.02, "x": math.nan}
    gaps = {name: Gap(1.0, 0.0, 2.0, p, p) for name, p in given.items()}
    found = {name: each.adjusted for name, each in adjusted(gaps).items()}
    assert found.pop("x") is not None
    assert found == pytest.approx({"a": 0.03, "b": 0.04, "c": 0.04})


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    found = coverage(World(images=200), studies=250, resamples=200)
    assert 0.91 < found.held < 0.98
    assert 0.91 < found.gaps_held < 0.98
    assert 0.02 < found.rejected < 0.09
    assert found.any_rejected < 0.08
