"""How sure a study's figures are: the spread over seeds and the draw of images, together.

A figure is a mean over seeds of a number measured on one set of images. Its error has two sources:
other seeds give other networks, other images other numbers. The first is the variance of the seeds
over their count, the second the variance of the mean under a bootstrap of the images. Which images
suit a single network is in both, and counted once: it is taken off the second. They add up, and
Student's t with Welch and Satterthwaite's degrees of freedom (Welch, Biometrika 1947) makes the
interval. Two or three seeds say little of their own variance, so that it is pooled over the
variants, as an analysis of variance does. `tests/ablation_coverage.py` shows that it holds.

Legend: S seeds, R resamples, M numbers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from cpn.ablation.outcome import Estimate, Gap

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Figures:
    """One variant's numbers.

    Attributes:
        seeds: (S,) of its runs.
        trainings: (S,) ids of what was trained; variants may share them.
        values: (S, M) numbers, NaN where there is nobody to find.
        resampled: (S, R, M) the same on resamples of the images, equal for all variants.
    """

    seeds: tuple[int, ...]
    trainings: tuple[str, ...]
    values: FloatArray
    resampled: FloatArray


class Part(NamedTuple):
    """A variance and how many degrees of freedom know it."""

    variance: float
    freedom: float


class SeedSpread(NamedTuple):
    """What seeds do to a number.

    Attributes:
        variance: over seeds; NaN from single seeds alone.
        freedom: degrees of freedom that know it.
        own: how much of it is which images were drawn, other ones for each network.
    """

    variance: float
    freedom: float
    own: float


def seed_spread(variants: Sequence[Figures], number: int) -> SeedSpread:
    """The variance of a number over seeds, pooled over variants.

    Variants that share their trainings count once.
    """
    distinct = {figures.trainings: figures for figures in variants}.values()
    known = [f for f in distinct if len(f.seeds) > 1 and np.isfinite(f.values[:, number]).all()]
    return _pooled([(f.values[:, number], f.resampled[..., number]) for f in known])


def estimate(figures: Figures, number: int, spread: SeedSpread, *, confidence: float) -> Estimate:
    """A number's mean over seeds with its interval.

    Args:
        figures: of the variant.
        number: which of the M.
        spread: from `seed_spread`; where it is NaN, the interval is over images alone.
        confidence: of the interval.
    """
    mean = float(figures.values[:, number].mean())
    drawn = figures.resampled[..., number].mean(axis=0)
    half, _ = _margin(mean, _parts(drawn, spread, 1 / len(figures.seeds)), confidence)
    return Estimate(mean, mean - half, mean + half)


def gap(
    figures: Figures, baseline: Figures, number: int, spread: SeedSpread, *, confidence: float
) -> Gap:
    """How much a variant's number is above the baseline's, on the same images.

    Variants that share their trainings, as those that differ in decoding do, are compared seed by
    seed: what a seed did to both cancels out.

    Args:
        figures: of the variant.
        baseline: of what it is compared with.
        number: which of the M.
        spread: from `seed_spread`.
        confidence: of the interval.

    Returns:
        The p-value is not adjusted yet, see `adjusted`.
    """
    pair = figures, baseline
    a, b = (each.values[:, number] for each in pair)
    drawn_a, drawn_b = (each.resampled[..., number] for each in pair)
    share = 1 / len(a) + 1 / len(b)
    if figures.trainings == baseline.trainings:
        spread, share = _pooled([(a - b, drawn_a - drawn_b)] if len(a) > 1 else []), 1 / len(a)
    drawn = drawn_a.mean(axis=0) - drawn_b.mean(axis=0)
    difference = float(a.mean() - b.mean())
    half, p_value = _margin(difference, _parts(drawn, spread, share), confidence)
    return Gap(difference, difference - half, difference + half, p_value, p_value)


def adjusted(gaps: Mapping[str, Gap]) -> dict[str, Gap]:
    """The same, with p-values raised for their number (Holm, Scand. J. Statistics 1979)."""
    known = sorted((g.p_value, name) for name, g in gaps.items() if math.isfinite(g.p_value))
    result, least = dict(gaps), 0.0
    for rank, (p_value, name) in enumerate(known):
        least = max(least, min(1.0, p_value * (len(known) - rank)))
        result[name] = gaps[name]._replace(adjusted=least)
    return result


def _pooled(columns: Sequence[tuple[FloatArray, FloatArray]]) -> SeedSpread:
    """Of (S,) numbers with their (S, R) resamples, several times."""
    freedom = sum(len(values) - 1 for values, _ in columns)
    if not freedom:
        return SeedSpread(math.nan, 0, 0.0)
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values, _ in columns)
    own = sum(float(np.nanvar(drawn - drawn.mean(axis=0), axis=1).sum()) for _, drawn in columns)
    return SeedSpread(squares / freedom, freedom, own / freedom)


def _parts(drawn: FloatArray, spread: SeedSpread, share: float) -> list[Part]:
    """The variances of a mean, or of a difference of means.

    Args:
        drawn: (R,) it on resamples of the images; there are enough of these to know its variance.
        spread: of one seed.
        share: of it that is left in the mean or difference.
    """
    known = drawn[np.isfinite(drawn)]
    images = float(known.var()) if len(known) > 1 else math.nan
    if not math.isfinite(spread.variance):
        return [Part(images, math.inf)]
    common = max(0.0, images - spread.own * share) if math.isfinite(images) else images
    return [Part(common, math.inf), Part(spread.variance * share, spread.freedom)]


def _margin(value: float, parts: Sequence[Part], confidence: float) -> tuple[float, float]:
    """Half the interval round a value, and the two-sided p-value of its being 0."""
    variance = sum(part.variance for part in parts)
    if not (math.isfinite(value) and math.isfinite(variance)):
        return math.nan, math.nan
    if variance == 0:
        return 0.0, 1.0 if value == 0 else 0.0
    unsure = sum(part.variance**2 / part.freedom for part in parts)
    freedom = variance**2 / unsure if unsure > 0 else math.inf
    error = math.sqrt(variance)
    half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * error
    return half, float(2 * stats.t.sf(abs(value) / error, freedom))
