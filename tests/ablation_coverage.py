"""How often a study's intervals hold the truth: python -m tests.ablation_coverage.

Studies are drawn from a made-up world in which all variants are equally good: seeds shift a
network's AP, images are hard for every network, and a little chance is each one's own. Prints a
table; not a test, but `tests/ablation/test_statistics.py` runs it small.
"""

import argparse
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cpn.ablation.outcome import Gap
from cpn.ablation.statistics import Figures, adjusted, estimate, gap

TRUE_AP = 0.5
IMAGE_DEVIATION = 0.3  # of one image's AP: over 400 images 0.015


class World(NamedTuple):
    """What a study is drawn from; the last variant's seeds may differ more than the others'."""

    variants: int = 4
    seeds: int = 3
    images: int = 400
    seed_deviation: float = 0.008
    own_deviation: float = 0.15
    last_deviation: float | None = None


class Coverage(NamedTuple):
    """Shares of intervals and studies.

    Attributes:
        held: intervals of AP that hold the true one.
        gaps_held: intervals of differences that hold 0, the true one.
        rejected: comparisons with p < 0.05 though there is no difference.
        any_rejected: studies with an adjusted p < 0.05.
    """

    held: float
    gaps_held: float
    rejected: float
    any_rejected: float


def coverage(world: World, *, studies: int, resamples: int, seed: int = 0) -> Coverage:
    """Draws studies and looks whether their intervals hold."""
    random = np.random.default_rng(seed)
    held, gaps = list[bool](), list[dict[str, Gap]]()
    for _ in range(studies):
        drawn = draw(random, world, resamples)
        for figures in drawn:
            found = estimate(figures, 0, confidence=0.95)
            held.append(found.low <= TRUE_AP <= found.high)
        compared = {
            str(number): gap(figures, drawn[0], 0, confidence=0.95)
            for number, figures in enumerate(drawn[1:])
        }
        gaps.append(adjusted(compared))
    every = [found for study in gaps for found in study.values()]
    return Coverage(
        held=float(np.mean(held)),
        gaps_held=float(np.mean([g.low <= 0 <= g.high for g in every])),
        rejected=float(np.mean([g.p_value < 0.05 for g in every])),
        any_rejected=float(np.mean([any(g.adjusted < 0.05 for g in s.values()) for s in gaps])),
    )


def draw(random: np.random.Generator, world: World, resamples: int) -> list[Figures]:
    """One study: figures of its variants, all with the same truth."""
    hardness = random.normal(0, IMAGE_DEVIATION, world.images)
    shares = np.full(world.images, 1 / world.images)
    weights = random.multinomial(world.images, shares, size=resamples) / world.images
    deviations = [world.seed_deviation] * world.variants
    deviations[-1] = world.last_deviation or world.seed_deviation
    return [
        _variant(random, world._replace(seed_deviation=deviation), hardness, weights, str(number))
        for number, deviation in enumerate(deviations)
    ]


def _variant(
    random: np.random.Generator,
    world: World,
    hardness: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
    name: str,
) -> Figures:
    shape = (world.seeds, world.images)
    networks = TRUE_AP + random.normal(0, world.seed_deviation, (world.seeds, 1))
    ap = networks + hardness + random.normal(0, world.own_deviation, shape)
    return Figures(
        seeds=tuple(range(world.seeds)),
        trainings=tuple(f"{name}/{seed}" for seed in range(world.seeds)),
        values=ap.mean(axis=1)[:, None],
        resampled=(ap @ weights.T)[..., None],
        telling=world.images,
    )


def main() -> None:
    """Prints the shares for several worlds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=500)
    given = parser.parse_args()
    worlds = {
        "3 seeds": World(),
        "2 seeds": World(seeds=2),
        "5 seeds": World(seeds=5),
        "seeds differ more": World(seed_deviation=0.03),
        "seeds hardly differ": World(seed_deviation=0.001),
        "one differs more": World(seed_deviation=0.004, last_deviation=0.03),
        "12 variants": World(variants=12),
    }
    print(f"{given.studies} studies each, {given.resamples} resamples")  # noqa: T201
    for name, world in worlds.items():
        found = coverage(world, studies=given.studies, resamples=given.resamples)
        print(  # noqa: T201
            f"{name:>20}: AP held {found.held:.1%}, difference held {found.gaps_held:.1%}, "
            f"p < 0.05 {found.rejected:.1%}, some adjusted p < 0.05 {found.any_rejected:.1%}"
        )


if __name__ == "__main__":
    main()
