import csv
import math

from cpn.report.text_table import csv_table, exact, markdown_table


def test_markdown_by_hand() -> None:
    assert markdown_table(["a|b", "n"], [["x", "1"], ["|", ""]], right={1}).splitlines() == [
        "| a\\|b | n |",
        "| --- | ---: |",
        "| x | 1 |",
        "| \\| |  |",
    ]
    assert markdown_table(["a"], []) == "| a |\n| --- |"


def test_csv_reads_back() -> None:
    rows = [["a", "b"], ['x,"y"', "two\nlines"], ["", "é"]]
    assert list(csv.reader(csv_table(rows).splitlines(keepends=True))) == rows


def test_numbers_keep_their_digits() -> None:
    assert exact(1 / 3) == repr(1 / 3)
    assert exact(3) == "3.0"
    assert [exact(None), exact(math.nan)] == ["", ""]
