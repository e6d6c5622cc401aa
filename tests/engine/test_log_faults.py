"""The log when its disk or its writer fails, and when the run is killed again and again."""

import json
import logging
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cpn.engine.events import EventWriter
from cpn.engine.failpoints import VARIABLE
from cpn.engine.tracking import Tracker
from cpn.engine.training_state import capture
from cpn.files.atomic import append_whole
from tests.engine.conftest import TinyRun, tiny_run
from tests.engine.test_trainer import assert_same
from tests.forked import exit_codes, forked

STEPS = list(range(1, 13))
OPTIONS: dict[str, Any] = {"epochs": 3, "dropout": 0.5, "ema_decay": 0.9, "save_every_steps": 3}


def _logged_run(folder: Path) -> TinyRun:
    with (folder / "console").open("a") as console:
        tracker = Tracker(folder / "run", console=Console(file=console))
        run = tiny_run(folder / "run" / "checkpoints", tracker=tracker, **OPTIONS)
        run.trainer.restore()
        run.trainer.fit()
    return run


def _steps_of_events(folder: Path) -> list[int]:
    events = EventAccumulator(str(folder / "run" / "tensorboard")).Reload()
    return [event.step for event in events.Scalars("train/loss")]


def _steps_of_lines(folder: Path) -> list[int]:
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def _failing_from(call: int, error: Exception) -> Callable[[Path, bytes], None]:
    calls: list[Path] = []

    def append(path: Path, content: bytes) -> None:
        calls.append(path)
        if len(calls) >= call:
            raise error
        append_whole(path, content)

    return append


FULL = OSError(28, "No space left on device", "events.out")


@pytest.mark.parametrize("call", [1, 8])
@pytest.mark.parametrize("log", ["tracking", "events"])
def test_a_log_that_cannot_be_written_changes_no_training(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    log: str,
    call: int,
) -> None:
    """F16: from the beginning, and from the fourth step on."""
    whole, disturbed = tmp_path / "whole", tmp_path / "disturbed"
    whole.mkdir()
    disturbed.mkdir()
    expected = capture(_logged_run(whole).trainer)
    monkeypatch.setattr(f"cpn.engine.{log}.append_whole", _failing_from(call, FULL))
    with caplog.at_level(logging.WARNING):
        found = capture(_logged_run(disturbed).trainer)
    assert_same(found | {"log_position": None}, expected | {"log_position": None})
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "the log cannot be written (events.out: No space left on device); training goes on"
    )
    other = {"tracking": _steps_of_events, "events": _steps_of_lines}[log]
    assert other(disturbed) == STEPS


def test_a_folder_that_takes_no_log_changes_no_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tensorboard").write_text("a file")
    (tmp_path / "run" / "metrics.jsonl").mkdir()
    assert _logged_run(tmp_path).trainer.progress.step == len(STEPS)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_after_kills_every_step_is_logged_once(tmp_path: Path) -> None:
    """F16: five kills, right after a state, and one, two or three steps later."""
    for step in (2, 4, 6, 9, 11):
        environment = {VARIABLE: f"before_step@{step}:0"}
        process = forked(_logged_run, tmp_path, environment=environment)
        assert exit_codes([process]) == [-signal.SIGKILL]
    run = _logged_run(tmp_path)
    assert run.trainer.progress.step == len(STEPS)
    assert _steps_of_lines(tmp_path) == STEPS
    assert _steps_of_events(tmp_path) == STEPS
    files = sorted((tmp_path / "run" / "tensorboard").iterdir())
    assert len(files) == 6
    assert files == sorted(files, key=lambda path: path.stat().st_mtime_ns)


def test_a_record_is_in_the_file_at_once(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path, first_step=1)
    for step in (1, 2):
        writer.scalars({"train/loss": 0.5}, step)
        events = EventAccumulator(str(tmp_path)).Reload()
        assert [event.step for event in events.Scalars("train/loss")] == list(range(1, step + 1))


def test_what_does_not_fit_leaves_no_part(tmp_path: Path) -> None:
    """A disk that gets full in the middle of a line, as `ulimit -f` makes one."""
    path = tmp_path / "metrics.jsonl"
    append_whole(path, b"first\n")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            append_whole(path, b"second\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"first\n"
    append_whole(path, b"third\n")
    assert path.read_bytes() == b"first\nthird\n"
