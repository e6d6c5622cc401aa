"""A multirun whose combinations come to numbers: every one is tried, and all are in one table."""

import logging
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from cpn.errors import UserError, error_text
from cpn.files.atomic import write_atomically
from cpn.report.text_table import csv_table, exact, markdown_table

Number = float | None

logger = logging.getLogger(__name__)


class Sweep:
    """Runs one combination after the other: `begin`, `run`, `begin`, `run`, ..., `finish`."""

    def __init__(self) -> None:
        self._table: SweepTable | None = None

    def begin(self, out: str | None, number: int, folder: Path) -> str:
        """Where a combination writes to; beside the first one's the table will be.

        Args:
            out: what the user gave for all; `m.json` becomes `m_<number>.json`.
            number: of the combination, from 0 on.
            folder: for `metrics.json` where the user gave nothing.
        """
        path = Path(out or folder / "metrics.json")
        self._table = self._table or SweepTable(path.with_name(f"{path.stem}_table"))
        return str(path.with_name(f"{path.stem}_{number}{path.suffix}"))

    @property
    def stem(self) -> Path | None:
        """Where the table is, without the ending."""
        return None if self._table is None else self._table.stem

    def add(
        self, stem: Path, overrides: Sequence[str], numbers: Mapping[str, Number], problem: str
    ) -> None:
        """Adds what a combination came to in another process, which began it there.

        Raises:
            OSError: the table cannot be written.
        """
        self._table = self._table or SweepTable(stem)
        self._table.add(overrides, numbers, problem=problem)

    def run(self, overrides: Sequence[str], task: Callable[[], object]) -> object:
        """Adds what the task comes to, numbers by name, or why it failed, to the table.

        Returns:
            The numbers; none where it failed.

        Raises:
            OSError: the table cannot be written.
        """
        assert self._table is not None, "begin comes first"
        found: object = {}
        problem = ""
        try:
            found = task()
        except (UserError, OSError) as error:
            problem = error_text(error)
            sys.stderr.write(f"error: {problem}\n")
        if os.environ.get("RANK", "0") == "0":
            assert isinstance(found, Mapping), "the task gives numbers by name"
            self._table.add(overrides, found, problem=problem)
        return found

    def finish(self) -> bool:
        """Logs the table, if there is one; whether no combination failed."""
        if self._table is None or not len(self._table):
            return True
        logger.info("\n%s\nwritten: %s, %s", self._table.markdown(), *self._table.files)
        return not self._table.has_problems


class SweepTable:
    """A row per combination, written anew after each: a later crash costs no earlier row.

    Args:
        stem: the files are `<stem>.md` and `<stem>.csv`.
    """

    def __init__(self, stem: Path) -> None:
        self.stem = stem
        self._overrides: list[dict[str, str]] = []
        self._numbers: list[Mapping[str, Number]] = []
        self._problems: list[str] = []

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def files(self) -> tuple[Path, Path]:
        """The Markdown file, rounded for people, and the CSV file, with all digits."""
        name = self.stem.name
        return self.stem.with_name(f"{name}.md"), self.stem.with_name(f"{name}.csv")

    @property
    def has_problems(self) -> bool:
        """Whether some combination failed."""
        return any(self._problems)

    def add(
        self, overrides: Sequence[str], numbers: Mapping[str, Number], *, problem: str = ""
    ) -> None:
        """Adds a combination and writes the files.

        Args:
            overrides: `key=value` as it was run with.
            numbers: by name; None and NaN are "-".
            problem: why there are no numbers.

        Raises:
            OSError: a file cannot be written.
        """
        pairs = (text.partition("=") for text in overrides)
        self._overrides.append({key: value for key, _, value in pairs})
        self._numbers.append(numbers)
        self._problems.append(" ".join(problem.split()))
        markdown, separated = self.files
        write_atomically(markdown, self.markdown().encode())
        write_atomically(separated, csv_table(self._rows(exact)).encode())

    def markdown(self) -> str:
        """What all combinations share, and below it the table."""
        varied = self._varied()
        keys = _union(self._overrides)
        shared = [f"`{key}={self._overrides[0][key]}`" for key in keys if key not in varied]
        head, *rows = self._rows(_rounded)
        return "\n".join([" ".join(shared), "", markdown_table(head, rows), ""])

    def _rows(self, written: Callable[[Number], str]) -> list[list[str]]:
        varied, names = self._varied(), _union(self._numbers)
        problem = ["problem"] if self.has_problems else []
        rows = [[*varied, *names, *problem]]
        for overrides, numbers, told in zip(
            self._overrides, self._numbers, self._problems, strict=True
        ):
            row = [overrides.get(key, "") for key in varied]
            row += [written(numbers.get(name)) for name in names]
            rows.append([*row, told] if problem else row)
        return rows

    def _varied(self) -> list[str]:
        """The keys that are not the same in all combinations."""
        keys = _union(self._overrides)
        return [key for key in keys if len({each.get(key) for each in self._overrides}) > 1]


def _union(mappings: Iterable[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def _rounded(value: Number) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"
