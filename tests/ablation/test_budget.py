import pytest

from cpn.ablation.budget import Halving, Pace, affordable_epochs, halved
from cpn.config.study_schema import BudgetConfig

PACE = Pace(seconds_per_step=0.5, steps_per_epoch=100, seconds_per_evaluation=10.0)


def budget(**given: object) -> BudgetConfig:
    return BudgetConfig(**{"steps": None, "minutes": None, "halving": False, **given})  # type: ignore[arg-type]


def test_a_run_takes_its_steps_and_its_evaluations() -> None:
    """3 epochs of 50 s; evaluations after epochs 2 and 3, and the study's own."""
    assert PACE.seconds(3, evaluate_every=2) == 150 + 30


@pytest.mark.parametrize(
    ("given", "epochs"),
    [
        ({}, 32),
        ({"steps": 350}, 3),
        ({"steps": 20}, 1),
        ({"minutes": 3.1}, 2),
        ({"minutes": 0.1}, 1),
    ],
)
def test_whole_epochs_and_one_at_least(given: dict[str, float], epochs: int) -> None:
    """Three minutes: 2 epochs are 100 s, 2 evaluations on the way and one at the end 30 s."""
    assert affordable_epochs(budget(**given), PACE, 32, evaluate_every=1) == epochs


def test_a_budget_never_adds_epochs() -> None:
    assert affordable_epochs(budget(steps=10**6), PACE, 4, evaluate_every=1) == 4


NAMES = ["a", "b", "c", "d"]


def test_all_begin_with_the_first_seed() -> None:
    assert halved(NAMES, [5, 6], "a", {}) == Halving([(name, 5) for name in NAMES], {})


def test_half_of_them_and_the_baseline_go_on() -> None:
    scores = {("a", 5): 0.1, ("b", 5): 0.4, ("c", 5): 0.3, ("d", 5): 0.2}
    found = halved(NAMES, [5, 6], "a", scores)
    assert found.open[4:] == [("a", 6), ("b", 6), ("c", 6)]
    assert found.cut == {"d": "cut by halving after 1 of 2 seeds: place 3 of 4"}


def test_the_second_round_counts_the_mean_of_both_seeds() -> None:
    first = {("a", 0): 0.1, ("b", 0): 0.5, ("c", 0): 0.4, ("d", 0): 0.0}
    second = {("a", 1): 0.1, ("b", 1): 0.1, ("c", 1): 0.4}
    found = halved(NAMES, [0, 1, 2], "a", first | second)
    assert [key for key in found.open if key[1] == 2] == [("a", 2), ("b", 2), ("c", 2)]
    found = halved(["b", "c", "a"], [0, 1, 2], "c", first | second)
    assert [key for key in found.open if key[1] == 2] == [("c", 2)]
    assert found.cut == {
        "a": "cut by halving after 1 of 3 seeds: place 3 of 3",
        "b": "cut by halving after 2 of 3 seeds: place 2 of 2",
    }


def test_what_failed_is_worst() -> None:
    found = halved(
        NAMES, [0, 1], "a", {("a", 0): 0.0, ("b", 0): None, ("c", 0): 0.0, ("d", 0): 0.1}
    )
    assert "b" in found.cut


def test_the_next_round_waits_for_the_slowest() -> None:
    found = halved(NAMES, [0, 1], "a", {("a", 0): 0.0, ("b", 0): 0.1})
    assert len(found.open) == 4
