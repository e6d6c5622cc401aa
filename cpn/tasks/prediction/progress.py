"""How prediction is doing: a bar or plain lines while it works, its speed at the end."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINES = 10  # at most so many where a bar cannot be shown
FRAMES_PER_LINE = 100  # where nobody knows how many there will be


class PredictionProgress:
    """Counts frames and people, and where the time goes.

    Args:
        unit: what a frame is called.
        total: how many there will be; None where nobody knows.
        console: a bar on a terminal, plain lines elsewhere.
    """

    def __init__(self, unit: str, total: int | None, *, console: Console | None = None) -> None:
        self._unit, self._total = unit, total
        self._console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn(f"{{task.fields[people]}} people in {unit}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}/s"),
            TimeRemainingColumn(),
            console=self._console,
            expand=True,
            transient=True,
        )
        self._task = self._bar.add_task("", total=total, people=0, rate="-")
        self._seconds: dict[str, float] = defaultdict(float)
        self._start = time.perf_counter()
        self.frames = self.people = 0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        self._start = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    @contextmanager
    def spent_on(self, part: str) -> Iterator[None]:
        """The time inside counts as spent on that part of the work."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[part] += time.perf_counter() - start

    def advance(self, people: int) -> None:
        """One more frame is done."""
        self.frames += 1
        self.people += people
        rate = f"{self.frames / self._elapsed:.1f}"
        self._bar.update(self._task, advance=1, people=self.people, rate=rate)
        step = FRAMES_PER_LINE if self._total is None else max(1, -(-self._total // LINES))
        if not self._console.is_terminal and self.frames % step == 0:
            of = "" if self._total is None else f" of {self._total}"
            self._console.out(
                f"{self.frames}{of} {self._unit}, {self.people} people, {rate} {self._unit}/s",
                highlight=False,
            )

    def summary(self) -> str:
        """One line: how much, how fast, and what took how much of the time."""
        shares = ", ".join(
            f"{part} {seconds / self._elapsed:.0%}" for part, seconds in self._seconds.items()
        )
        return (
            f"{self.people} people in {self.frames} {self._unit} in {self._elapsed:.1f} s:"
            f" {self.frames / self._elapsed:.1f} {self._unit}/s,"
            f" {self.people / self._elapsed:.1f} people/s ({shares})"
        )

    @property
    def _elapsed(self) -> float:
        return max(time.perf_counter() - self._start, 1e-9)
