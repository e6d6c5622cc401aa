import io
import json
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cpn.engine.tracking import NullTracker, Tracker, create_tracker

VALUES = {"loss": 1.5, "refine": 0.5, "lr": 0.01, "grad_norm": 2.0, "images_per_second": 40.0}


def make_tracker(folder: Path, *, terminal: bool = False) -> tuple[Tracker, io.StringIO]:
    text = io.StringIO()
    return Tracker(folder, console=Console(file=text, force_terminal=terminal, width=120)), text


def log_steps(
    folder: Path,
    first: int,
    last: int,
    *,
    position: int | None = None,
    evaluate_after: int | None = None,
) -> int:
    """Logs some steps, and an evaluation after one of them; returns the position after that."""
    tracker, _ = make_tracker(folder)
    with tracker.session(step=first, total_steps=10, position=position):
        for step in range(first + 1, last + 1):
            tracker.advance()
            tracker.train(epoch=0, step=step, values=VALUES | {"loss": float(step)})
            if step == (evaluate_after or last):
                tracker.evaluation(epoch=0, step=step, metrics={"AP": 0.5, "AR": float("nan")})
                position = tracker.position
    assert position is not None
    return position


def read_lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_metrics_file(tmp_path: Path) -> None:
    log_steps(tmp_path / "run", 0, 1)
    train = {"kind": "train", "epoch": 0, "step": 1, **VALUES, "loss": 1.0}
    evaluation = {"kind": "eval", "epoch": 0, "step": 1, "AP": 0.5, "AR": None}
    assert read_lines(tmp_path / "run") == [train, evaluation]


def test_resume_repeats_nothing(tmp_path: Path) -> None:
    """Logged up to step 5, resumed from the state of step 3."""
    after_three = log_steps(tmp_path, 0, 5, evaluate_after=3)
    log_steps(tmp_path, 3, 7, position=after_three)
    steps = [line["step"] for line in read_lines(tmp_path) if line["kind"] == "train"]
    assert steps == [1, 2, 3, 4, 5, 6, 7]
    assert [line["step"] for line in read_lines(tmp_path) if line["kind"] == "eval"] == [3, 7]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6, 7]
    assert [event.value for event in events.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6, 7]
    assert [event.step for event in events.Scalars("eval/AP")] == [3, 7]


def test_a_run_that_starts_anew_drops_all(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2, "lo')
    log_steps(tmp_path, 0, 1)
    assert [(line["kind"], line["step"]) for line in read_lines(tmp_path)] == [
        *(("train", 1), ("eval", 1)),
    ]


def test_pictures_open_in_tensorboard(tmp_path: Path) -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    image[:, :, 0] = 200  # red
    tracker, _ = make_tracker(tmp_path)
    with tracker.session(step=0, total_steps=1):
        tracker.image("people", image, step=1)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    (event,) = events.Images("people")
    assert (event.step, event.width, event.height) == (1, 6, 4)
    png = np.frombuffer(event.encoded_image_string, np.uint8)
    decoded = cv2.imdecode(png, cv2.IMREAD_COLOR)
    assert decoded is not None
    assert (decoded[:, :, ::-1] == image).all()


def test_plain_lines(tmp_path: Path) -> None:
    tracker, text = make_tracker(tmp_path)
    with tracker.session(step=0, total_steps=2):
        tracker.advance()
        tracker.train(epoch=0, step=1, values=VALUES)
        tracker.advance()
        tracker.evaluation(epoch=0, step=2, metrics={"AP": 0.25, "AP50": 0.5})
        tracker.message("[not] markup " + "long " * 40)
    train, evaluation, message = text.getvalue().splitlines()
    assert train.startswith(
        "epoch 1  step 1/2  loss 1.50000 (refine 0.50000)  lr 1.00e-02  grad 2  40.0 images/s  0:00"
    )
    assert evaluation == "epoch 1  step 2/2  evaluation  AP 0.2500  AP50 0.5000"
    assert message.startswith("[not] markup long")
    assert "\x1b" not in text.getvalue()


def test_bar_on_a_terminal(tmp_path: Path) -> None:
    tracker, text = make_tracker(tmp_path, terminal=True)
    with tracker.session(step=3, total_steps=8):
        tracker.advance()
        tracker.train(epoch=1, step=4, values=VALUES)
        tracker.evaluation(epoch=1, step=4, metrics={"AP": 0.25})
    shown = text.getvalue()
    assert "4/8" in shown
    assert "loss 1.50000  40.0 images/s" in shown
    assert "left" in shown
    assert "epoch 2" in shown
    assert "evaluation  AP 0.2500" in shown
    assert "step 4/8  loss" not in shown


def test_session_ends_cleanly_on_an_interrupt(tmp_path: Path) -> None:
    tracker, text = make_tracker(tmp_path, terminal=True)

    before = set(threading.enumerate())

    def interrupted() -> None:
        with tracker.session(step=0, total_steps=1):
            tracker.train(epoch=0, step=0, values=VALUES)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    for thread in set(threading.enumerate()) - before:  # the bar's
        thread.join(10)
        assert not thread.is_alive()
    assert text.getvalue().count("\x1b[?25h") == 1  # the cursor is shown again
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert len(events.Scalars("train/loss")) == 1


def test_other_ranks_are_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracker = create_tracker(tmp_path, is_main=False)
    assert type(tracker) is NullTracker
    with tracker.session(step=0, total_steps=1):
        tracker.advance()
        tracker.train(epoch=0, step=1, values=VALUES)
        tracker.evaluation(epoch=0, step=1, metrics={})
        tracker.image("a", np.zeros((1, 1, 3), np.uint8), step=1)
        tracker.message("hello")
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""
    assert type(create_tracker(tmp_path)) is Tracker
