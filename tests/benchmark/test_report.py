import json
from pathlib import Path

import pytest

from cpn.benchmark.report import Report, describe_machine
from cpn.benchmark.timing import Spread


@pytest.fixture
def report() -> Report:
    report = Report("step", {"batch": 8}, machine={"processor": "abacus"})
    report.add("decode", "ms", Spread(0.002, 0.001, 0.003), scale=1e3)
    report.add("size", "kB", 147.456)
    report.require("rate", 0.9, "at least", 0.85)
    report.require("size", 161.0, "at most", 160.0)
    return report


def test_written_as_it_was_measured(report: Report, tmp_path: Path) -> None:
    report.write(tmp_path / "b.json")
    document = json.loads((tmp_path / "b.json").read_text())
    assert document == {
        "suite": "step",
        "settings": {"batch": 8},
        "figures": [
            {"name": "decode", "unit": "ms", "value": 2.0, "low": 1.0, "high": 3.0},
            {"name": "size", "unit": "kB", "value": 147.456, "low": 147.456, "high": 147.456},
        ],
        "goals": [
            {"name": "rate, at least", "value": 0.9, "goal": 0.85, "ok": True},
            {"name": "size, at most", "value": 161.0, "goal": 160.0, "ok": False},
        ],
        "machine": {"processor": "abacus"},
    }


def test_a_history_grows_by_a_line_per_figure(report: Report, tmp_path: Path) -> None:
    history = tmp_path / "docs/history.csv"
    report.machine |= {"cores": 2, "torch": "2.99"}
    report.append_to(history, commit="abc1234", day="2026-11-24")
    report.append_to(history, commit="abc1235+", day="2026-11-25")
    header, *lines = history.read_text().splitlines()
    assert header == "day,commit,suite,figure,median,low,high,unit,machine,torch"
    assert lines[0] == '2026-11-24,abc1234,step,decode,2,1,3,ms,"abacus, 2 cores",2.99'
    assert [line.split(",")[:4] for line in lines[2:]] == [
        ["2026-11-25", "abc1235+", "step", "decode"],
        ["2026-11-25", "abc1235+", "step", "size"],
    ]


def test_shown_with_unit_spread_verdict_and_machine(
    report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    report.show()
    text = capsys.readouterr().out
    for part in ("step: batch 8", "1 - 3", "ms", "147", "on processor abacus"):
        assert part in text
    assert "met: rate, at least 0.85: 0.9" in text
    assert "MISSED: size, at most 160: 161" in text


def test_a_goal_that_is_just_reached_is_met() -> None:
    report = Report("step", {}, machine={})
    report.require("a", 1.0, "at least", 1.0)
    report.require("b", 1.0, "at most", 1.0)
    assert [goal.ok for goal in report.goals] == [True, True]


def test_the_machine_names_processor_and_versions() -> None:
    machine = describe_machine()
    assert machine["processor"]
    assert machine["torch"] != "not installed"
