"""Tables as text: Markdown for people, CSV with all digits for programs."""

import csv
import io
import math
from collections.abc import Collection, Iterable, Sequence


def markdown_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Collection[int] = ()
) -> str:
    """A Markdown table; `|` in cells is escaped.

    Args:
        head: names of the columns.
        rows: as many cells each.
        right: columns, from 0 on, whose cells are aligned to the right.
    """
    rule = ["---:" if at in right else "---" for at in range(len(head))]
    lines = [_line(map(_escaped, row)) for row in rows]
    return "\n".join([_line(map(_escaped, head)), _line(rule), *lines])


def csv_table(rows: Iterable[Sequence[str]]) -> str:
    """Lines of comma-separated values; cells that hold commas, quotes or line ends are quoted."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def exact(value: float | None) -> str:
    """All digits of a number; nothing for None and NaN."""
    return "" if value is None or math.isnan(value) else repr(float(value))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")
