"""What a benchmark found: figures with unit and spread, goals, and the machine."""

import csv
import io
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import psutil
import torch
from rich.console import Console
from rich.table import Table

from cpn.benchmark.timing import Spread
from cpn.files.atomic import append_whole, write_json

PACKAGES = (
    *("cpn-pose", "torch", "torchvision", "numpy", "opencv-python-headless", "simplejpeg"),
    *("albumentations", "pycocotools"),
)


HISTORY_COLUMNS = (
    *("day", "commit", "suite", "figure", "median", "low", "high", "unit", "machine", "torch"),
)


@dataclass(frozen=True)
class Figure:
    """One number that was measured; low and high are quartiles over the rounds."""

    name: str
    unit: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Goal:
    """A figure with what it must be."""

    name: str
    value: float
    goal: float
    ok: bool


def describe_machine() -> dict[str, object]:
    """Processor, cores, accelerator and the versions of what was measured."""
    found: dict[str, object] = {
        "processor": _processor(),
        "cores": usable_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch_threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def usable_cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []


@dataclass
class Report:
    """The findings of one suite, in the order they were added.

    Attributes:
        suite: which.
        settings: what was measured: sizes, counts, options.
        figures: see `Figure`.
        goals: see `Goal`.
        machine: where.
    """

    suite: str
    settings: Mapping[str, object]
    figures: list[Figure] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    machine: dict[str, object] = field(default_factory=describe_machine)

    def add(self, name: str, unit: str, value: Spread | float, *, scale: float = 1.0) -> None:
        """Notes a figure, multiplied by `scale` to come in its unit."""
        spread = value if isinstance(value, Spread) else Spread.of([value])
        numbers = (spread.median * scale, spread.low * scale, spread.high * scale)
        self.figures.append(Figure(name, unit, *numbers))

    def require(
        self, name: str, value: float, comparison: Literal["at least", "at most"], goal: float
    ) -> None:
        """Notes a goal and whether it is met."""
        ok = value >= goal if comparison == "at least" else value <= goal
        self.goals.append(Goal(f"{name}, {comparison}", value, goal, ok))

    def write(self, path: Path) -> None:
        """As JSON, atomically."""
        write_json(path, asdict(self))

    def append_to(self, history: Path, *, commit: str, day: str) -> None:
        """Adds a line per figure to a CSV file, which is made with its header where there is none.

        Args:
            history: the file.
            commit: of the code that was measured.
            day: when, as 2026-11-24.

        Raises:
            OSError: it cannot be written; it is as it was.
        """
        machine = f"{self.machine.get('processor')}, {self.machine.get('cores')} cores"
        machine += f", {self.machine['gpu']}" if "gpu" in self.machine else ""
        rows: list[tuple[str, ...]] = [] if history.exists() else [HISTORY_COLUMNS]
        for each in self.figures:
            numbers = (f"{value:.6g}" for value in (each.value, each.low, each.high))
            torch_version = str(self.machine.get("torch"))
            rows.append(
                (day, commit, self.suite, each.name, *numbers, each.unit, machine, torch_version)
            )
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        history.parent.mkdir(parents=True, exist_ok=True)
        append_whole(history, text.getvalue().encode())

    def show(self) -> None:
        """As tables, to the standard output."""
        console = Console(width=None if Console().is_terminal else 120)
        table = Table(title=f"{self.suite}: {_in_words(self.settings)}", title_justify="left")
        for name in ("figure", "median", "quartiles", "unit"):
            table.add_column(name, justify="left" if name in {"figure", "unit"} else "right")
        for each in self.figures:
            spread = f"{_number(each.low)} - {_number(each.high)}" if each.low < each.high else ""
            table.add_row(each.name, _number(each.value), spread, each.unit)
        console.print(table)
        for goal in self.goals:
            verdict = "met" if goal.ok else "MISSED"
            console.print(
                f"{verdict}: {goal.name} {_number(goal.goal)}: {_number(goal.value)}",
                highlight=False,
            )
        console.print(f"on {_in_words(self.machine)}", highlight=False)


def _in_words(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _number(value: float) -> str:
    """Three significant digits; whole numbers in full."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
