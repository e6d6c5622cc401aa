from dataclasses import replace

from cpn.ablation.conclusions import Pair, conclusions, published_pairs
from cpn.ablation.outcome import Estimate, Gap, VariantOutcome

ONE = {"AP": Estimate(0.5, 0.4, 0.6)}


def variant(
    name: str, value: float | None = None, adjusted: float = 1.0, published: float | None = None
) -> VariantOutcome:
    gap = None if value is None else Gap(value, value - 0.02, value + 0.02, adjusted, adjusted)
    return VariantOutcome(name, (), (0, 1), ONE, gap, {}, (), None, published, None, 1)


def test_better_worse_and_what_cannot_be_told() -> None:
    variants = [variant("base"), variant("up", 0.1, 0.01), variant("down", -0.1, 0.04)]
    told = conclusions([*variants, variant("same", 0.001, 0.5)], "base", [])
    assert told == (
        "Better than base by more than chance explains: up.",
        "Worse than base by more than chance explains: down.",
        "No difference to base shown for same (a single comparison here tells differences of about "
        "2.0 points of AP).",
    )


def test_pairs_are_those_whose_published_ap_differs() -> None:
    variants = [variant("a", published=2.0), variant("b", published=1.0), variant("c")]
    assert published_pairs([*variants, variant("d", published=1.0)]) == [("b", "a"), ("d", "a")]


def test_the_papers_order() -> None:
    pairs = [
        Pair("a", "b", Gap(0.1, 0.0, 0.2, 0.01, 0.01)),
        Pair("a", "c", Gap(0.1, 0.0, 0.2, 0.3, 0.3)),
        Pair("b", "c", Gap(-0.1, -0.2, 0.0, 0.02, 0.02)),
        Pair("b", "d", Gap(-0.1, -0.2, 0.0, 0.5, 0.5)),
    ]
    assert conclusions([], "a", pairs) == (
        "The paper's order: 2 of 4 pairs come out the same way round, 1 of them by more than "
        "chance explains (p < 0.05, pair by pair); reversed: b above c.",
    )


def test_single_seeds_are_told() -> None:
    single = replace(variant("a"), seeds=(3,))
    told = conclusions([single, variant("b")], "a", [])
    assert told == (
        "One seed of a: the interval is over images alone, and how much another seed would change "
        "is not known.",
    )
