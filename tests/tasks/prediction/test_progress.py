"""How prediction tells what it is doing."""

import io
import re

from rich.console import Console

from cpn.tasks.prediction.progress import PredictionProgress


def run(frames: int, total: int | None, *, terminal: bool = False) -> tuple[str, str]:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    with PredictionProgress("photos", total, console=console) as progress:
        for _ in range(frames):
            with progress.spent_on("poses"):
                pass
            progress.advance(people=2)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue(), progress.summary()


def test_plain_lines_where_there_is_no_terminal() -> None:
    told, _ = run(20, 20)
    lines = told.splitlines()
    assert len(lines) == 10
    assert re.fullmatch(r"2 of 20 photos, 4 people, [\d.]+ photos/s", lines[0])
    assert lines[-1].startswith("20 of 20 photos, 40 people, ")


def test_where_nobody_knows_how_many_there_will_be() -> None:
    told, _ = run(250, None)
    assert [line.split(",")[0] for line in told.splitlines()] == ["100 photos", "200 photos"]


def test_a_bar_on_a_terminal() -> None:
    told, _ = run(3, 3, terminal=True)
    assert "people in photos" in told
    assert "of 3 photos" not in told


def test_the_summary_tells_speed_and_shares() -> None:
    summary = run(4, 4)[1]
    number = r"[\d.]+"
    assert re.fullmatch(
        rf"8 people in 4 photos in {number} s: {number} photos/s, {number} people/s"
        r" \(poses \d+%\)",
        summary,
    )
    assert run(0, 0)[1].startswith("0 people in 0 photos in ")
