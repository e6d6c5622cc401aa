"""tests/README.md tells of every row of the matrices, and of tests that exist."""

import re
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
README = HERE / "README.md"
ROWS = [
    f"{letter}{number}"
    for letter, count in {"A": 11, "P": 5, "I": 7, "C": 2, "S": 9, "H": 11, "F": 19}.items()
    for number in range(1, count + 1)
]


@cache
def _table() -> dict[str, str]:
    """What holds each row: the last cell, of lines whose first is a row's name."""
    found: dict[str, str] = {}
    for line in README.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for name in cells[0].split(", "):
            if name in ROWS:
                assert name not in found, name
                found[name] = cells[-1]
    return found


def missing_tests(held_by: str) -> list[str]:
    """Names of a cell that are no file, or no test of the file that was named last."""
    missing, text = [], ""
    for name in re.findall(r"`([^`]+)`", held_by):
        file, _, test = name.rpartition(": ")
        if test.endswith(".py"):
            file, test = test, ""
        if file:
            path = HERE / file
            text = path.read_text() if path.is_file() else ""
            missing += [] if text else [file]
        if test.startswith("test_") and f"def {test}(" not in text:
            missing.append(name)
    return missing


@pytest.mark.parametrize("row", ROWS)
def test_every_row_is_held_by_tests_that_exist(row: str) -> None:
    held_by = _table()[row]
    assert "`" in held_by or held_by.startswith("does not apply"), held_by
    assert missing_tests(held_by) == []


def test_a_missing_test_is_found() -> None:
    assert missing_tests("`test_matrices.py: test_a_missing_test_is_found`, `chaos.py`") == []
    assert missing_tests("`nowhere.py: test_a`") == ["nowhere.py", "nowhere.py: test_a"]
    assert missing_tests("`test_matrices.py: test_b`, `test_c`, `no.py`") == [
        *("test_matrices.py: test_b", "test_c", "no.py"),
    ]
