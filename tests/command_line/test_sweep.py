"""The table of a multirun, by itself and through `scripts/evaluate.py -m`."""

import csv
import json
import logging
import math
import runpy
import sys
from pathlib import Path

import pytest

from cpn.command_line.sweep import Sweep, SweepTable
from cpn.errors import UserError

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "evaluation" / "faster_coco_eval"


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_table_by_hand(tmp_path: Path) -> None:
    table = SweepTable(tmp_path / "t")
    table.add(["a=1", "c=x|y"], {"AP": 0.5})
    assert table.markdown() == "`a=1` `c=x|y`\n\n| AP |\n| --- |\n| 0.5000 |\n"
    table.add(["a=[2|3]", "c=x|y", "b=z"], {"AP": 1 / 3, "AR": math.nan, "PCK": None})
    markdown, separated = table.files
    assert not table.has_problems
    assert markdown.read_text().splitlines() == [
        "`c=x|y`",
        "",
        "| a | b | AP | AR | PCK |",
        "| --- | --- | --- | --- | --- |",
        "| 1 |  | 0.5000 | - | - |",
        "| [2\\|3] | z | 0.3333 | - | - |",
    ]
    rows = rows_of(separated)
    assert rows[1] == {"a": "[2|3]", "b": "z", "AP": repr(1 / 3), "AR": "", "PCK": ""}


def test_a_failure_is_a_row_and_costs_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> object:
        raise UserError("no such\nfile")

    sweep = Sweep()
    outs = []
    for number, task in enumerate((lambda: {"AP": 0.1}, fail, lambda: {"AP": 0.2})):
        outs.append(sweep.begin(None, number, tmp_path))
        sweep.run([f"seed={number}"], task)
        rows = rows_of(tmp_path / "metrics_table.csv")
        assert len(rows) == number + 1
    assert outs == [str(tmp_path / f"metrics_{number}.json") for number in range(3)]
    assert [row["AP"] for row in rows] == ["0.1", "", "0.2"]
    assert [row["problem"] for row in rows] == ["", "no such file", ""]
    assert not sweep.finish()
    # Other tests may have left log handlers whose streams are closed, which is told there, too.
    assert "error: no such\nfile\n" in capsys.readouterr().err


def test_other_ranks_write_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    sweep = Sweep()
    sweep.begin(str(tmp_path / "m.json"), 0, tmp_path)
    sweep.run([], lambda: {"AP": 0.1})
    assert sweep.finish()
    assert list(tmp_path.iterdir()) == []


def test_without_a_multirun_there_is_no_table() -> None:
    assert Sweep().finish()


def test_a_bug_is_not_a_row(tmp_path: Path) -> None:
    def fail() -> object:
        raise ValueError("a bug of ours")

    sweep = Sweep()
    sweep.begin(None, 0, tmp_path)
    with pytest.raises(ValueError, match="a bug of ours"):
        sweep.run([], fail)


@pytest.mark.long
def test_the_script_tabulates_all_combinations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [
        *("--multirun", f"results={GOLDEN / 'dt.json'},missing.json,{GOLDEN / 'dt.json'}"),
        *(f"annotations={GOLDEN / 'gt.json'}", f"out={tmp_path / 'm.json'}"),
    ]
    monkeypatch.setattr(sys, "argv", [str(ROOT / "scripts" / "evaluate.py"), *arguments])
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "scripts" / "evaluate.py"), run_name="__main__")
    assert stop.value.code == 2
    assert "missing.json" in capsys.readouterr().err
    rows = rows_of(tmp_path / "m_table.csv")
    expected = json.loads((GOLDEN / "expected.json").read_text())["stats"][0]
    assert [row["results"] for row in rows][1] == "missing.json"
    assert rows[0]["AP"] == rows[2]["AP"] == repr(json.loads(Path("m_2.json").read_text())["AP"])
    assert float(rows[0]["AP"]) == pytest.approx(expected, abs=1e-9)
    assert rows[1]["problem"] == "no such file: missing.json"
