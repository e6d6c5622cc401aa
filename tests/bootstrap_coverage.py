"""How often the bootstrap's 95 % intervals hold the truth: python -m tests.bootstrap_coverage.

Data sets are drawn from a made-up world whose true numbers are known, because a very large sample
of it was measured. People of one image share how hard the image is, so that they are not
independent. Prints a table; not a test, but `tests/evaluation/test_bootstrap.py` runs it small.
"""

import argparse
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cpn.evaluation.bootstrap import bootstrap, paired_bootstrap
from cpn.evaluation.coco_keypoints import COCO_METRICS
from cpn.evaluation.matching import Matches

THRESHOLDS = np.arange(0.5, 0.96, 0.05).round(2)
MEDIUM_SHARE = 0.4
LARGE_SAMPLE = 60_000


class Coverage(NamedTuple):
    """Shares of data sets, per number of `COCO_METRICS`.

    Attributes:
        held: whose interval holds the true number.
        rejected: two equally good models told apart at p < 0.05.
    """

    held: npt.NDArray[np.float64]
    rejected: npt.NDArray[np.float64]


def coverage(*, sets: int, images: int, resamples: int, seed: int = 0) -> Coverage:
    """Draws data sets and looks whether their intervals hold."""
    random = np.random.default_rng(seed)
    truth = draw(random, LARGE_SAMPLE)[0].statistics()
    held, rejected = [], []
    for number in range(sets):
        first, second = draw(random, images)
        intervals = bootstrap(first, resamples=resamples, seed=number).values()
        held.append([i.low <= true <= i.high for i, true in zip(intervals, truth, strict=True)])
        pair = paired_bootstrap(first, second, resamples=resamples, seed=number).values()
        rejected.append([difference.p_value < 0.05 for difference in pair])
    return Coverage(np.mean(held, axis=0), np.mean(rejected, axis=0))


def draw(random: np.random.Generator, images: int) -> tuple[Matches, Matches]:
    """The results of two equally good models on a data set of so many images."""
    people = random.poisson(1.3, images)
    person_images = np.repeat(np.arange(images), people)
    hardness = random.normal(0, 0.08, images)[person_images]
    medium = random.random(len(person_images)) < MEDIUM_SHARE
    counted = np.stack([np.ones_like(medium), medium, ~medium])
    # What is hard about a person is hard for both models; the rest is their own.
    ease = 0.82 - 0.06 * medium + hardness + random.normal(0, 0.08, len(person_images))
    pair = [_results(random, images, person_images, counted, ease) for _ in range(2)]
    return pair[0], pair[1]


def _results(
    random: np.random.Generator,
    images: int,
    person_images: npt.NDArray[np.int64],
    counted: npt.NDArray[np.bool_],
    ease: npt.NDArray[np.float64],
) -> Matches:
    """One result per person with an OKS and a score that knows a little of it, and strays."""
    oks = ease + random.normal(0, 0.06, len(ease))
    strays = random.integers(images, size=images)
    result_images = np.concatenate([person_images, strays])
    scores = np.concatenate([oks + random.normal(0, 0.1, len(oks)), random.random(images) * 0.9])
    found = oks[None] >= THRESHOLDS[:, None]
    matched = np.concatenate([found, np.zeros((len(THRESHOLDS), images), dtype=bool)], axis=1)
    other_class = np.concatenate([~counted, np.zeros((3, images), dtype=bool)], axis=1)
    order = np.argsort(-scores, kind="stable")
    return Matches(
        image_ids=np.arange(images),
        thresholds=THRESHOLDS,
        result_images=result_images[order],
        result_numbers=order,
        scores=scores[order],
        matched=np.stack([matched] * 3)[..., order],
        ignored=np.repeat(other_class[:, None], len(THRESHOLDS), axis=1)[..., order],
        person_images=person_images,
        counted=counted,
    )


def main() -> None:
    """Prints the share of intervals that hold, per number."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=400)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--resamples", type=int, default=1000)
    given = parser.parse_args()
    found = coverage(sets=given.sets, images=given.images, resamples=given.resamples)
    print(f"{given.sets} data sets of {given.images} images, {given.resamples} resamples")  # noqa: T201
    for name, held, rejected in zip(COCO_METRICS, *found, strict=True):
        print(f"{name:>5}: 95 % intervals hold {held:.1%}; equal models differ {rejected:.1%}")  # noqa: T201


if __name__ == "__main__":
    main()
