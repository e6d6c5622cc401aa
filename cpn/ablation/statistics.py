"""How sure a study's figures are: the spread over seeds and the draw of images, together.

A figure is a mean over seeds of a number measured on one set of images. Its error has two sources:
other seeds give other networks, other images other numbers. The first is the variance of the seeds
over their count, the second the variance of the mean under a bootstrap of the images. Which images
suit a single network is in both, and counted once: it is taken off the second. They add up, and
Student's t with Welch and Satterthwaite's degrees of freedom (Welch, Biometrika 1947) makes the
interval. Every variant has the variance of its own seeds: a pooled one would be surer of two or
three seeds, and wrong where one variant's networks differ more than another's, as those do of which
one failed to learn. `tests/ablation_coverage.py` shows how often the intervals hold.

Legend: S seeds, R resamples, M numbers.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
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
        telling: how many images have somebody to find or a result.
    """

    seeds: tuple[int, ...]
    trainings: tuple[str, ...]
    values: FloatArray
    resampled: FloatArray
    telling: int

    def of_trainings(self, trainings: Iterable[str]) -> "Figures":
        """The runs of these trainings."""
        places = [self.trainings.index(training) for training in trainings]
        return Figures(
            tuple(self.seeds[place] for place in places),
            tuple(self.trainings[place] for place in places),
            self.values[places],
            self.resampled[places],
            self.telling,
        )


class Part(NamedTuple):
    """A variance and how many degrees of freedom know it."""

    variance: float
    freedom: float


class _Series(NamedTuple):
    """A number of each seed: (S,) values, and (S, R) on resamples of the images."""

    values: FloatArray
    drawn: FloatArray

    @property
    def of_seeds(self) -> Part:
        """The variance of the mean by its seeds; unknown from a single one."""
        count = len(self.values)
        if count < 2:
            return Part(math.nan, 0)
        return Part(float(self.values.var(ddof=1)) / count, count - 1)

    @property
    def own(self) -> float:
        """How much of that is which images were drawn, other ones for each network."""
        count = len(self.values)
        deviations = self.drawn - self.drawn.mean(axis=0)
        return float(np.nanvar(deviations, axis=1).sum()) / (count - 1) / count


def estimate(figures: Figures, number: int, *, confidence: float) -> Estimate:
    """A number's mean over seeds with its interval; of a single seed, over images alone.

    Args:
        figures: of the variant.
        number: which of the M.
        confidence: of the interval.
    """
    own = _series(figures, number)
    mean = float(own.values.mean())
    parts = _parts(own.drawn.mean(axis=0), [own], figures.telling)
    half, _ = _margin(mean, parts, confidence)
    return Estimate(mean, mean - half, mean + half)


def gap(figures: Figures, baseline: Figures, number: int, *, confidence: float) -> Gap:
    """How much a variant's number is above the baseline's, on the same images.

    Variants that share trainings, as those that differ in decoding do, are compared seed by seed of
    these: what a seed did to both cancels out.

    Args:
        figures: of the variant.
        baseline: of what it is compared with.
        number: which of the M.
        confidence: of the interval.

    Returns:
        The p-value is not adjusted yet, see `adjusted`. It is NaN where one of them has a single
        seed, for then nobody knows what another seed would do, and the interval is over images
        alone; but networks that both share are compared as they are.
    """
    common = [training for training in figures.trainings if training in baseline.trainings]
    if common:
        figures, baseline = figures.of_trainings(common), baseline.of_trainings(common)
    a, b = _series(figures, number), _series(baseline, number)
    drawn = a.drawn.mean(axis=0) - b.drawn.mean(axis=0)
    paired = _Series(a.values - b.values, a.drawn - b.drawn) if common else None
    seeds = [a, b] if paired is None else [paired]
    difference = float(a.values.mean() - b.values.mean())
    telling = min(figures.telling, baseline.telling)
    half, p_value = _margin(difference, _parts(drawn, seeds, telling), confidence)
    if paired is None and min(len(a.values), len(b.values)) < 2 and difference:
        p_value = math.nan
    return Gap(difference, difference - half, difference + half, p_value, p_value)


def adjusted(gaps: Mapping[str, Gap]) -> dict[str, Gap]:
    """The same, with p-values raised for their number (Holm, Scand. J. Statistics 1979)."""
    known = sorted((g.p_value, name) for name, g in gaps.items() if math.isfinite(g.p_value))
    result, least = dict(gaps), 0.0
    for rank, (p_value, name) in enumerate(known):
        least = max(least, min(1.0, p_value * (len(known) - rank)))
        result[name] = gaps[name]._replace(adjusted=least)
    return result


def _series(figures: Figures, number: int) -> _Series:
    return _Series(figures.values[:, number], figures.resampled[..., number])


def _parts(drawn: FloatArray, seeds: Sequence[_Series], telling: int) -> list[Part]:
    """The variances of a mean, or of a difference of means.

    Args:
        drawn: (R,) it on resamples of the images.
        seeds: of the means that it is made of; a single seed says nothing of others.
        telling: how many images there are to draw from.
    """
    known = drawn[np.isfinite(drawn)]
    if len(known) < 2 or telling < 2:
        return [Part(math.nan, 0)]
    images = float(known.var()) * telling / (telling - 1)
    several = [each for each in seeds if len(each.values) > 1]
    common = max(0.0, images - sum(each.own for each in several))
    return [Part(common, telling - 1), *(each.of_seeds for each in several)]


def _margin(value: float, parts: Sequence[Part], confidence: float) -> tuple[float, float]:
    """Half the interval round a value, and the two-sided p-value of its being 0."""
    variance = sum(part.variance for part in parts)
    if value == 0 and not variance:
        return 0.0, 1.0
    if not (math.isfinite(value) and variance > 0):
        return math.nan, math.nan
    freedom = variance**2 / sum(part.variance**2 / part.freedom for part in parts)
    error = math.sqrt(variance)
    half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * error
    return half, float(2 * stats.t.sf(abs(value) / error, freedom))
