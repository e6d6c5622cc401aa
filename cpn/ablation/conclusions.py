"""What the figures of a study say, in sentences."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from cpn.ablation.outcome import Gap, VariantOutcome

ALPHA = 0.05


class Pair(NamedTuple):
    """Two variants that the paper puts in an order: `lower` below `higher`."""

    lower: str
    higher: str
    gap: Gap


def conclusions(
    variants: Sequence[VariantOutcome], baseline: str, pairs: Sequence[Pair]
) -> tuple[str, ...]:
    """Sentences on the differences, and on the paper's order.

    Args:
        variants: of the study.
        baseline: that they were compared with.
        pairs: all pairs whose published AP differs and that both have runs.
    """
    return (*_single_seeds(variants), *_differences(variants, baseline), *_order(pairs))


def published_pairs(variants: Iterable[VariantOutcome]) -> list[tuple[str, str]]:
    """(lower, higher) of every two variants whose published AP differs."""
    known = [(v.published_ap, v.name) for v in variants if v.published_ap is not None and v.metrics]
    found = [sorted(pair) for pair in combinations(known, 2) if pair[0][0] != pair[1][0]]
    return [(lower[1], higher[1]) for lower, higher in found]


def _single_seeds(variants: Sequence[VariantOutcome]) -> list[str]:
    single = [v.name for v in variants if len(v.seeds) == 1]
    if not single:
        return []
    return [
        f"One seed of {_listed(single)}: the interval is over images alone, and how much another "
        "seed would change is not known."
    ]


def _differences(variants: Sequence[VariantOutcome], baseline: str) -> list[str]:
    gaps = {v.name: v.gap for v in variants if v.gap is not None}
    known: Mapping[str, Gap] = {n: g for n, g in gaps.items() if math.isfinite(g.adjusted)}
    if not known:
        return []
    better = [name for name, g in known.items() if g.adjusted < ALPHA and g.value > 0]
    worse = [name for name, g in known.items() if g.adjusted < ALPHA and g.value < 0]
    open_ones = [name for name, g in known.items() if g.adjusted >= ALPHA]
    told = []
    if better:
        told.append(f"Better than {baseline} by more than chance explains: {_listed(better)}.")
    if worse:
        told.append(f"Worse than {baseline} by more than chance explains: {_listed(worse)}.")
    if open_ones:
        widest = 100 * max((known[name].high - known[name].low) / 2 for name in open_ones)
        told.append(
            f"No difference to {baseline} shown for {_listed(open_ones)} (a single comparison here "
            f"tells differences of about {widest:.1f} points of AP)."
        )
    return told


def _order(pairs: Sequence[Pair]) -> list[str]:
    if not pairs:
        return []
    same = [pair for pair in pairs if pair.gap.value > 0]
    firm = [pair for pair in same if pair.gap.p_value < ALPHA]
    against = [pair for pair in pairs if pair.gap.value < 0 and pair.gap.p_value < ALPHA]
    told = (
        f"The paper's order: {len(same)} of {len(pairs)} pairs come out the same way round, "
        f"{len(firm)} of them by more than chance explains (p < {ALPHA}, pair by pair)"
    )
    reversed_ones = _listed([f"{pair.lower} above {pair.higher}" for pair in against])
    return [f"{told}; {'reversed: ' + reversed_ones if against else 'none is reversed so'}."]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
