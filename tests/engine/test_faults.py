"""Runs that die at a chosen place: what is left, and that they go on as if nothing had been."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cpn.engine import failpoints
from cpn.engine.trainer import NonFiniteError
from cpn.engine.training_state import capture
from tests.engine.conftest import tiny_run
from tests.engine.test_trainer import assert_same
from tests.forked import exit_codes, forked

OPTIONS: dict[str, Any] = {
    "epochs": 3,
    "dropout": 0.5,
    "ema_decay": 0.9,
    "log_every": 3,
    "save_every_steps": 3,
}
PLACES = ("before_step", "before_state", "after_state", "after_manifest", "during_delete")


@pytest.fixture(autouse=True)
def _somewhere_else() -> Iterator[None]:
    """The place of this process is that of the last run it trained."""
    yield
    failpoints.HERE.step = 0


def _train(folder: Path) -> None:
    run = tiny_run(folder, hooks=_hooks(folder), **OPTIONS)
    run.trainer.restore()
    run.trainer.fit()


def _hooks(folder: Path) -> dict[str, Any]:
    def save_model(_module: Any, metrics: Any, _is_best: bool) -> None:
        (folder / "model").write_text(str(metrics))

    return {"evaluate": lambda _module, epoch: {"AP": float(epoch)}, "save_model": save_model}


def _train_until_killed(folder: Path, fault: str) -> None:
    process = forked(_train, folder, environment={failpoints.VARIABLE: fault})
    assert exit_codes([process]) == [-signal.SIGKILL]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run comes to that nobody kills: 12 steps, with states after 3, 4, 6, 8, 9 and 12."""
    folder, threads = tmp_path_factory.mktemp("whole"), torch.get_num_threads()
    torch.set_num_threads(1)  # as `_train`; the tests' own fixture comes too late for this one
    run = tiny_run(folder, hooks=_hooks(folder), **OPTIONS)
    run.trainer.fit()
    torch.set_num_threads(threads)
    return capture(run.trainer)


@pytest.mark.parametrize("step", [6, 8])
@pytest.mark.parametrize("place", [*PLACES, "before_model"])
def test_killed_anywhere_a_run_goes_on_as_if_nothing_had_been(
    tmp_path: Path, whole: dict[str, Any], place: str, step: int
) -> None:
    if (place, step) == ("before_model", 6):
        pytest.skip("no model is written within an epoch")
    _train_until_killed(tmp_path, f"{place}@{step}:0")
    run = tiny_run(tmp_path, hooks=_hooks(tmp_path), **OPTIONS)
    assert run.trainer.restore()
    newest = {"before_step": 4 if step == 6 else 6, "after_manifest": step, "during_delete": step}
    assert run.trainer.progress.step == newest.get(place, {6: 4, 8: 6}[step])
    run.trainer.fit()
    assert_same(capture(run.trainer), whole)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["manifest.json", "model", "step_00000009.ckpt", "step_00000012.ckpt"]


def test_killed_before_the_first_state_a_run_starts_from_its_beginning(
    tmp_path: Path, whole: dict[str, Any]
) -> None:
    _train_until_killed(tmp_path, "after_state@3:0")
    run = tiny_run(tmp_path, hooks=_hooks(tmp_path), **OPTIONS)
    assert not run.trainer.restore()
    run.trainer.fit()
    assert_same(capture(run.trainer), whole)


def test_a_poisoned_loss_stops_before_the_step(
    make_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(failpoints.VARIABLE, "loss@6:0:nan")
    run = make_run(epochs=2)
    with pytest.raises(NonFiniteError, match=r"epoch 2, step 6: on rank 0 loss=nan, x=.*ids \[\d"):
        run.trainer.fit()
    assert run.trainer.progress.step == 5
    assert [each.step for each in run.trainer.store.states()] == [4]


def test_other_places_steps_and_ranks_do_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    failpoints.at_step(3)
    for fault in ("", "other@3:0", "here@4:0", "here@3:1"):
        monkeypatch.setenv(failpoints.VARIABLE, fault)
        failpoints.failpoint("here")
    monkeypatch.setenv(failpoints.VARIABLE, "here@3:0")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    failpoints.failpoint("here")


def test_the_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    monkeypatch.setattr(os, "kill", lambda _pid, number: sent.append(number))
    failpoints.at_step(3)
    for action in ("", ":kill9", ":stop", ":term", ":nan"):
        monkeypatch.setenv(failpoints.VARIABLE, f"here@3:0{action}")
        failpoints.failpoint("here")
    assert sent == [signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM]
    assert torch.isnan(failpoints.poisoned("here", torch.ones(())))
    assert failpoints.poisoned("there", torch.ones(())) == 1
