"""Whole trainings, by the program itself, whose surroundings fail."""

import json
import re
from pathlib import Path
from typing import Any

from tests.forked import exit_codes, forked
from tests.tasks.program import last_line, train_and_lose_a_worker, train_program


def _status(run: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((run / "status.json").read_text())
    return document


def test_a_killed_worker_is_named_and_the_run_can_go_on(
    tiny_overrides: list[str], tmp_path: Path
) -> None:
    """F15."""
    run, log = tmp_path / "runs" / "tiny", tmp_path / "log"
    overrides = [*tiny_overrides, "data.workers=2", "engine.save_every_steps=1"]
    process = forked(train_and_lose_a_worker, overrides, (1, 3), log=log)
    assert exit_codes([process]) == [2]
    assert re.fullmatch(
        r"error: loader worker \(process \d+\) (is killed by signal: Killed|exited unexpectedly); "
        r"the system kills .*data\.workers.* run\.if_exists=resume",
        last_line(log),
    )
    assert _status(run)["state"] == "failed"
    assert 3 <= _status(run)["step"] < 6
    process = forked(train_program, [*overrides, "run.if_exists=resume"], log=log)
    assert exit_codes([process]) == [0]
    assert _status(run)["state"] == "done"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2, 3, 4, 5, 6]
