import math

import numpy as np
import pytest
from scipy import stats

from cpn.ablation.outcome import Gap
from cpn.ablation.statistics import Figures, adjusted, estimate, gap
from tests.ablation_coverage import World, coverage

MANY = 10**9


def figures(
    values: list[float],
    drawn: list[list[float]],
    *,
    trainings: list[str] | None = None,
    telling: int = MANY,
) -> Figures:
    seeds = tuple(range(len(values)))
    return Figures(
        seeds=seeds,
        trainings=tuple(trainings or [f"{values}/{seed}" for seed in seeds]),
        values=np.array(values)[:, None],
        resampled=np.array(drawn)[..., None],
        telling=telling,
    )


def half_of(found: Gap) -> float:
    return found.high - found.value


def test_an_interval_by_hand() -> None:
    """Images do nothing here: variance of the mean 2 / 2 = 1, one degree of freedom."""
    own = figures([0.0, 2.0], [[0.0, 0.0], [2.0, 2.0]])
    found = estimate(own, 0, confidence=0.95)
    assert found.value == 1.0
    assert found.high - 1.0 == pytest.approx(12.706, abs=1e-3)  # of Student's table
    assert 1.0 - found.low == pytest.approx(12.706, abs=1e-3)


def test_a_single_seed_has_the_interval_of_its_images() -> None:
    """Deviation of 1, -1 is 1: of many images the normal distribution's 1.96."""
    own = figures([5.0], [[4.0, 6.0]])
    assert estimate(own, 0, confidence=0.95).high - 5.0 == pytest.approx(1.95996, abs=1e-4)
    few = figures([5.0], [[4.0, 6.0]], telling=2)
    found = estimate(few, 0, confidence=0.95)
    assert found.high - 5.0 == pytest.approx(12.706 * math.sqrt(2), abs=1e-3)


def test_one_image_tells_nothing_of_others() -> None:
    own = figures([0.0, 2.0], [[0.0, 0.0], [2.0, 2.0]], telling=1)
    assert math.isnan(estimate(own, 0, confidence=0.95).low)
    other = figures([5.0, 5.0], [[5.0, 5.0], [5.0, 5.0]], telling=1)
    assert math.isnan(gap(other, own, 0, confidence=0.95).p_value)


def test_what_the_images_do_to_both_cancels_out() -> None:
    """Variance 0.02 / 2 of each, with one degree of freedom each: 0.02 with two."""
    hard = [0.0, -3.0, 3.0]
    baseline = figures([0.0, 0.2], [hard, [x + 0.2 for x in hard]])
    better = figures([1.0, 1.2], [[x + 1.0 for x in hard], [x + 1.2 for x in hard]])
    found = gap(better, baseline, 0, confidence=0.95)
    assert found.value == pytest.approx(1.0)
    assert half_of(found) == pytest.approx(float(stats.t.ppf(0.975, 2)) * math.sqrt(0.02))
    assert found.p_value == pytest.approx(2 * float(stats.t.sf(1 / math.sqrt(0.02), 2)))


def test_every_variant_has_the_variance_of_its_own_seeds() -> None:
    """Welch: 1 with one degree of freedom, and nothing with one, is 1 with one."""
    calm = figures([0.0, 0.0], [[0.0, 0.0], [0.0, 0.0]])
    wild = figures([0.0, 2.0], [[0.0, 0.0], [2.0, 2.0]])
    assert half_of(gap(wild, calm, 0, confidence=0.95)) == pytest.approx(12.706, abs=1e-3)
    assert estimate(calm, 0, confidence=0.95) == (0.0, 0.0, 0.0)


def test_what_images_do_to_one_network_is_counted_once() -> None:
    """The seeds' variance holds it already; images alone would add as much again."""
    random = np.random.default_rng(0)
    values = random.normal(0, 1, 50)
    own = figures(values.tolist(), random.normal(0, 1, (50, 2000)).tolist())
    found = estimate(own, 0, confidence=0.95)
    half = float(stats.t.ppf(0.975, 49)) * math.sqrt(values.var(ddof=1) / 50)
    assert found.high - found.value == pytest.approx(half, rel=0.03)


SHARED = ["x", "y"]


def test_shared_trainings_are_compared_seed_by_seed() -> None:
    """Seeds move both by 10; the difference is 1 and 1.2, variance 0.02 / 2."""
    baseline = figures([0.0, 10.0], [[0.0, 0.0], [10.0, 10.0]], trainings=SHARED)
    other = figures([1.0, 11.2], [[1.0, 1.0], [11.2, 11.2]], trainings=SHARED)
    found = gap(other, baseline, 0, confidence=0.95)
    assert half_of(found) == pytest.approx(12.706 * 0.1, abs=1e-3)


def test_of_trainings_those_that_both_have_are_compared() -> None:
    baseline = figures([9.0, 0.0, 10.0], [[9.0], [0.0], [10.0]], trainings=["w", *SHARED])
    other = figures([11.2, 1.0], [[11.2], [1.0]], trainings=SHARED[::-1])
    drawn = [np.repeat(each.resampled, 2, axis=1) for each in (baseline, other)]
    pair = [
        Figures(each.seeds, each.trainings, each.values, twice, MANY)
        for each, twice in zip((baseline, other), drawn, strict=True)
    ]
    found = gap(pair[1], pair[0], 0, confidence=0.95)
    assert found.value == pytest.approx(1.1)
    assert half_of(found) == pytest.approx(12.706 * 0.1, abs=1e-3)


def test_single_seeds_have_no_p_value_but_that_of_one_network_has() -> None:
    first = figures([1.0], [[0.9, 1.1]])
    second = figures([2.0], [[1.8, 2.2]])
    found = gap(second, first, 0, confidence=0.95)
    assert half_of(found) == pytest.approx(1.95996 * 0.1, abs=1e-4)
    assert math.isnan(found.p_value)
    same = [
        figures([1.0], [[0.9, 1.1]], trainings=["x"]),
        figures([2.0], [[1.8, 2.2]], trainings=["x"]),
    ]
    assert gap(same[1], same[0], 0, confidence=0.95).p_value < 0.001


def test_equal_results_differ_by_nothing() -> None:
    own = figures([1.0], [[1.0, 2.0]])
    assert gap(own, own, 0, confidence=0.95) == (0.0, 0.0, 0.0, 1.0, 1.0)


def test_unknown_numbers_stay_unknown() -> None:
    own = figures([math.nan], [[math.nan, math.nan]])
    assert all(math.isnan(value) for value in estimate(own, 0, confidence=0.95))
    known = figures([1.0, 2.0], [[1.0, 1.0], [2.0, 2.0]])
    assert all(math.isnan(value) for value in gap(known, own, 0, confidence=0.95))


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


@pytest.mark.slow
def test_they_hold_where_one_variants_seeds_differ_more() -> None:
    world = World(images=200, seed_deviation=0.004, last_deviation=0.03)
    found = coverage(world, studies=200, resamples=200)
    assert found.held > 0.91
    assert found.rejected < 0.08
    assert found.any_rejected < 0.08
