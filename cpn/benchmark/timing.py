"""Interleaved timing: each round times every case once, so noise of the machine meets all alike."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psutil

Clock = Callable[[], float]


@dataclass(frozen=True)
class Spread:
    """A figure of several rounds.

    Attributes:
        median: over the rounds.
        low: the lower quartile.
        high: the upper quartile.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Median and quartiles of one or more values."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(frozen=True)
class Timings:
    """Seconds per item, by case and round."""

    seconds: Mapping[str, Sequence[float]]

    def cost(self, case: str) -> Spread:
        """Seconds per item."""
        return Spread.of(self.seconds[case])

    def rate(self, case: str) -> Spread:
        """Items per second."""
        return Spread.of([1 / seconds for seconds in self.seconds[case]])

    def ratio(self, case: str, reference: str) -> Spread:
        """How long `case` takes, `reference` being 1; formed in each round, then summarised."""
        pairs = zip(self.seconds[case], self.seconds[reference], strict=True)
        return Spread.of([own / other for own, other in pairs])


def time_interleaved(
    cases: Mapping[str, Callable[[], int]],
    *,
    rounds: int,
    clock: Clock = time.perf_counter,
    warm_up: int = 1,
) -> Timings:
    """Runs every case once per round, in turn.

    Args:
        cases: each does some work and returns how many items it did, at least 1.
        rounds: at least 1.
        clock: seconds; `cpu_seconds` where others use the machine, too.
        warm_up: rounds before, untimed.
    """
    for _ in range(warm_up):
        for work in cases.values():
            work()
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, work in cases.items():
            start = clock()
            items = work()
            seconds[name].append((clock() - start) / items)
    return Timings(seconds)


def cpu_seconds() -> float:
    """Processor time of this process and of those that it has started and that still run."""
    children = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return time.process_time() + sum(each.user + each.system for each in children)


def occupied_memory() -> int:
    """Bytes that this process and its children occupy together; a page they share counts once.

    Where the system does not tell (it is Linux that does), pages that are shared do not count.
    """
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    found = [process.memory_full_info() for process in processes]
    return sum(getattr(each, "pss", each.uss) for each in found)
