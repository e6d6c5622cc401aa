from collections.abc import Callable

import pytest

from cpn.benchmark.timing import Spread, Timings, cpu_seconds, occupied_memory, time_interleaved


class _Clock:
    """A clock that only work moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float, items: int, log: list[str], name: str) -> Callable[[], int]:
        def run() -> int:
            self.now += seconds
            log.append(name)
            return items

        return run


def test_cases_take_turns_and_cost_is_per_item() -> None:
    clock, log = _Clock(), list[str]()
    cases = {"a": clock.work(6.0, 3, log, "a"), "b": clock.work(1.0, 1, log, "b")}
    timings = time_interleaved(cases, rounds=2, clock=clock)
    assert log == ["a", "b"] * 3  # one untimed
    assert timings.seconds == {"a": [2.0, 2.0], "b": [1.0, 1.0]}
    assert timings.rate("a").median == 0.5


def test_without_warm_up_nothing_runs_untimed() -> None:
    clock, log = _Clock(), list[str]()
    time_interleaved({"a": clock.work(1.0, 1, log, "a")}, rounds=3, clock=clock, warm_up=0)
    assert log == ["a"] * 3


def test_ratios_are_formed_round_by_round() -> None:
    """A machine that gets three times slower changes costs, not their ratio."""
    timings = Timings({"own": [2.0, 6.0, 2.0], "other": [4.0, 12.0, 4.0]})
    assert timings.ratio("own", "other") == Spread(0.5, 0.5, 0.5)
    assert timings.cost("own") == Spread(2.0, 2.0, 4.0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([5.0], (5.0, 5.0, 5.0)), ([1.0, 2.0, 3.0, 4.0, 5.0], (3.0, 2.0, 4.0))],
)
def test_median_and_quartiles(values: list[float], expected: tuple[float, ...]) -> None:
    spread = Spread.of(values)
    assert (spread.median, spread.low, spread.high) == expected


def test_processor_time_and_memory_of_this_process() -> None:
    start = cpu_seconds()
    sum(range(3_000_000))
    assert cpu_seconds() > start
    held = bytearray(b"x" * 50_000_000)
    assert occupied_memory() > len(held)
