"""How sure a number is: bootstrap over images, for one set of results or the difference of two.

Images are what a data set is drawn in, so they are what is drawn again; people of one image stay
together. Matches are not made anew: a match depends on nothing outside its image (Efron and
Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 16).

Legend: I images, R resamples, S sets of results, M numbers.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cpn.evaluation.coco_keypoints import COCO_METRICS
from cpn.evaluation.matching import WEIGHTS_AT_ONCE, IntArray, Matches

FloatArray = NDArray[np.float64]
Statistics: TypeAlias = Callable[[Matches, IntArray], FloatArray]

RESAMPLES = 1000
CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A number with the interval that holds the true one in `confidence` of data sets; or NaN.

    One image says nothing of others: its numbers have no interval.
    """

    value: float
    low: float
    high: float


class Difference(NamedTuple):
    """A number of two sets of results.

    Attributes:
        first: of a.
        second: of b.
        difference: b - a, with its interval.
        p_value: how often, if both were equally good, a difference that large or larger would be
            seen in either direction; 2 / (R + 1) at least, and no less than I images can show
            (see `_p_value`). NaN if there is nothing to compare.
    """

    first: float
    second: float
    difference: Interval
    p_value: float


def bootstrap(
    matches: Matches,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> dict[str, Interval]:
    """Percentile intervals of the ten numbers named in `COCO_METRICS`.

    Args:
        matches: of one set of results.
        resamples: R; 1000 place the ends of a 95 % interval to a twentieth of its length.
        confidence: share of data sets whose interval is to hold the true number.
        seed: of the resamples.
    """
    values, images = matches.statistics(), telling_images(matches)
    drawn = resampled_statistics([matches], resamples=resamples, seed=seed)[0]
    return {
        name: _interval(float(value), column, confidence, images)
        for name, value, column in zip(COCO_METRICS, values, drawn.T, strict=True)
    }


def paired_bootstrap(
    first: Matches,
    second: Matches,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> dict[str, Difference]:
    """The differences b - a of the ten numbers, both measured on the same resamples.

    What makes an image hard makes it hard for both, and cancels out: the interval is shorter, often
    by far, than those of the two numbers.

    Args:
        first: a.
        second: b, of the same images and people.
        resamples: R.
        confidence: as for `bootstrap`.
        seed: of the resamples.

    Raises:
        ValueError: the two are of different images or people.
    """
    if not _same_people(first, second):
        raise ValueError("the two sets of results were matched with different images or people")
    pair = resampled_statistics([first, second], resamples=resamples, seed=seed)
    images = telling_images(first, second)
    found = {}
    for name, a, b, changes in zip(
        COCO_METRICS, first.statistics(), second.statistics(), (pair[1] - pair[0]).T, strict=True
    ):
        difference = _interval(float(b - a), changes, confidence, images)
        p_value = _p_value(changes, images)
        found[name] = Difference(float(a), float(b), difference, p_value)
    return found


def resampled_statistics(
    sets: Sequence[Matches],
    *,
    resamples: int,
    seed: int,
    statistics: Statistics = Matches.statistics,
) -> FloatArray:
    """(S, R, M) numbers of several sets of results on the same resamples of their images.

    Args:
        sets: of the same images.
        resamples: R.
        seed: of the resamples.
        statistics: gives (r, M) of (r, I) weights; COCO's ten of keypoints if not told.
    """
    parts = [
        np.stack([statistics(matches, weights) for matches in sets])
        for weights in _weights(len(sets[0].image_ids), resamples, seed)
    ]
    return np.concatenate(parts, axis=1)


def _weights(num_images: int, resamples: int, seed: int) -> Iterator[IntArray]:
    """(r, I) how often each image is drawn, a few resamples at a time."""
    random = np.random.default_rng(seed)
    shares = np.full(num_images, 1.0 / max(1, num_images))
    for start in range(0, resamples, WEIGHTS_AT_ONCE):
        count = min(WEIGHTS_AT_ONCE, resamples - start)
        yield random.multinomial(num_images, shares, size=count)


def telling_images(*sets: Matches) -> int:
    """How many images have somebody to find or a result; the others change no number."""
    places = [np.concatenate([one.person_images, one.result_images]) for one in sets]
    return len(np.unique(np.concatenate(places)))


def _interval(value: float, drawn: FloatArray, confidence: float, images: int) -> Interval:
    """The percentiles of what was drawn; resamples without anybody to find say nothing."""
    known = drawn[np.isfinite(drawn)]
    if images < 2 or not len(known) or not np.isfinite(value):
        return Interval(value, float("nan"), float("nan"))
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(known, [tail, 1.0 - tail])
    return Interval(value, float(low), float(high))


def _p_value(changes: FloatArray, images: int) -> float:
    """Two-sided: the interval that just touches 0 has this much outside it.

    Where nothing ever changes, as for equal results, it is 1. Resamples of a few images cannot
    know that others might differ: were both equally good, b would be the better one on all of I
    images, or a would, with a chance of 2^(1 - I); no p-value is below that.
    """
    known = changes[np.isfinite(changes)]
    if not len(known):
        return float("nan")
    side = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return min(1.0, max(2 * (side + 1) / (len(known) + 1), 2.0 ** (1 - images)))


def _same_people(first: Matches, second: Matches) -> bool:
    return (
        np.array_equal(first.image_ids, second.image_ids)
        and np.array_equal(first.person_images, second.person_images)
        and np.array_equal(first.counted, second.counted)
    )
