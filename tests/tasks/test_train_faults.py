"""Whole trainings, by the program itself, whose surroundings fail."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cpn.engine.model_file import load_model_metadata
from cpn.engine.state_store import StateStore
from tests.forked import exit_codes, forked, forked_ranks
from tests.own_mounts import why_not
from tests.tasks.program import (
    last_line,
    train_and_lose_a_worker,
    train_on_a_full_disk,
    train_program,
    train_rank_to_nan,
    train_read_only,
)

needs_mounts = pytest.mark.skipif(bool(why_not()), reason=why_not())


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


def test_predictions_of_nan_stop_all_ranks_and_no_model_is_written(
    tiny_overrides: list[str], tmp_path: Path
) -> None:
    """F11."""
    run = tmp_path / "runs" / "tiny"
    ranks = forked_ranks(train_rank_to_nan, tmp_path, tiny_overrides, world_size=2)
    assert exit_codes(ranks) == [2, 2]
    lines = {last_line(tmp_path / f"rank_{rank}.log") for rank in (0, 1)}
    (line,) = lines
    assert re.fullmatch(
        r"error: the evaluation after epoch 2, step 6: 1 of 6 predictions have non-finite .*"
        r"\(first: image \d instance \d\); the model has diverged, nothing was evaluated",
        line,
    )
    assert _status(run)["state"] == "failed"
    assert [each.step for each in StateStore(run / "checkpoints").states()] == [3]
    for name in ("best", "model"):
        assert load_model_metadata(run / f"{name}.safetensors")["metrics"]["AP"] is not None
    logged = [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]
    assert [each["epoch"] for each in logged if each["kind"] == "eval"] == [0]


NEEDS = r"cannot be written: No space left on device; it needs \d{6,7} bytes, \d+ are free; .*room"


@needs_mounts
@pytest.mark.parametrize(
    ("save_every", "left", "told"),
    [
        ("1", 200_000, rf"checkpoints/step_00000002\.ckpt: the training state {NEEDS}"),
        ("null", 200_000, rf"model\.safetensors: the model {NEEDS}"),
        ("null", 0, r"status\.json: No space left on device"),
    ],
)
def test_a_full_disk_ends_a_run_in_one_line_and_costs_nothing(
    tiny_overrides: list[str], tmp_path: Path, save_every: str, left: int, told: str
) -> None:
    """F7: what was there stays, and with room again the run goes on."""
    run, report = tmp_path / "runs" / "tiny", tmp_path / "report.json"
    overrides = [*tiny_overrides, f"engine.save_every_steps={save_every}", "engine.epochs=1"]
    process = forked(train_on_a_full_disk, overrides, run, report, left)
    assert exit_codes([process]) == [0]
    found = json.loads(report.read_text())
    assert found["codes"] == [75, 2, 0]
    assert found["state"] == "done"
    before, after = found["before"], found["after"]
    states = [name for name in before if name.startswith("checkpoints/")]
    assert states == ["checkpoints/manifest.json", "checkpoints/step_00000001.ckpt"]
    assert {name: after[name] for name in states} == {name: before[name] for name in states}
    new = {name for name in after.keys() - before.keys() if not name.startswith("tensorboard/")}
    assert new == set()  # no part of a state or a model
    assert re.match(rf"error: {run}/{told}", last_line(tmp_path / "full.log"))


@needs_mounts
def test_a_read_only_folder_is_named_before_anything_is_built(
    tiny_overrides: list[str], tmp_path: Path
) -> None:
    """F9."""
    root, log = tmp_path / "runs", tmp_path / "log"
    root.mkdir()
    process = forked(train_read_only, tiny_overrides, root, log=log)
    assert exit_codes([process]) == [2]
    (line,) = log.read_text().splitlines()
    assert line == f"error: run directory {root}/tiny: {root} cannot be written; set run.root"
