"""What a budget leaves of a study, and in which words that is told."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cpn.ablation.ledger import Key
from cpn.config.study_schema import BudgetConfig


class Pace(NamedTuple):
    """How fast a variant is trained, by a short timing.

    Attributes:
        seconds_per_step: of training, reading included.
        steps_per_epoch: of the whole training set.
        seconds_per_evaluation: of the validation set.
    """

    seconds_per_step: float
    steps_per_epoch: int
    seconds_per_evaluation: float

    def seconds(self, epochs: int, evaluate_every: int) -> float:
        """Of a run, with its evaluations on the way and one at its end for the study."""
        evaluations = math.ceil(epochs / evaluate_every) + 1
        steps = epochs * self.steps_per_epoch
        return steps * self.seconds_per_step + evaluations * self.seconds_per_evaluation


def affordable_epochs(budget: BudgetConfig, pace: Pace, epochs: int, evaluate_every: int) -> int:
    """How many whole epochs of a run the budget allows: one at least, `epochs` at most."""
    allowed = epochs
    if budget.steps is not None:
        allowed = min(allowed, budget.steps // pace.steps_per_epoch)
    if budget.minutes is not None:
        while allowed > 1 and pace.seconds(allowed, evaluate_every) > 60 * budget.minutes:
            allowed -= 1
    return max(1, allowed)


def in_words(budget: BudgetConfig) -> str:
    """What decides how long a run is."""
    limits = {"steps": budget.steps, "minutes": budget.minutes}
    told = [f"study.budget.{name}={limit:g}" for name, limit in limits.items() if limit is not None]
    return ", ".join(told) or "no budget"


class Halving(NamedTuple):
    """Successive halving over seeds (Jamieson and Talwalkar, AISTATS 2016).

    Attributes:
        open: runs of the present round, finished or not.
        cut: by variant, with how many seeds it was dropped and why.
    """

    open: list[Key]
    cut: dict[str, str]


def halved(
    variants: Sequence[str], seeds: Sequence[int], baseline: str, scores: Mapping[Key, float | None]
) -> Halving:
    """Which runs may be begun: all variants with the first seed, the better half with the next.

    The baseline stays to the end, beside that half.

    Args:
        variants: in the study's order.
        seeds: in the study's order.
        baseline: what the others are compared with.
        scores: AP of the runs that have ended, None of those that failed.
    """
    alive, cut, open_runs = list(variants), dict[str, str](), list[Key]()
    for number, seed in enumerate(seeds, start=1):
        open_runs += [(name, seed) for name in alive]
        if any((name, seed) not in scores for name in alive) or number == len(seeds):
            break
        ranked = sorted(alive, key=lambda name: -_mean_score(name, seeds[:number], scores))
        kept = set(ranked[: math.ceil(len(ranked) / 2)]) | {baseline}
        for place, name in enumerate(ranked, start=1):
            if name not in kept:
                cut[name] = f"cut by halving after {number} of {len(seeds)} seeds: place {place}"
                cut[name] += f" of {len(ranked)}"
        alive = [name for name in alive if name in kept]
    return Halving(open_runs, cut)


def _mean_score(name: str, seeds: Sequence[int], scores: Mapping[Key, float | None]) -> float:
    values = [scores[name, seed] for seed in seeds]
    known = [-math.inf if value is None else value for value in values]
    return sum(known) / len(known)
