import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from cpn.engine.late import LateReader
from cpn.engine.optim import build_optimizer, build_scheduler
from cpn.engine.trainer import NonFiniteError, in_groups, steps_per_epoch
from cpn.engine.training_state import capture
from cpn.errors import UserError
from cpn.process.interruption import EvaluationStopped, Interrupted


def assert_same(one: Any, other: Any) -> None:
    """Equal to the last bit, nested."""
    assert type(one) is type(other)
    if isinstance(one, Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert one == other


def _state(run: Any) -> dict[str, Any]:
    """All but where the log is, which has other lines in another process."""
    return capture(run.trainer) | {"log_position": None}


def noisy_evaluation(module: nn.Module, epoch: int) -> dict[str, float]:
    """Draws from the global generators, as a careless metric would."""
    torch.rand(7)
    np.random.rand(3)  # noqa: NPY002
    assert not any(part.training for part in module.modules())
    assert not torch.is_grad_enabled()
    return {"AP": [0.2, 0.5, 0.4, 0.5][epoch], "AR": epoch / 10}


RUN: dict[str, Any] = {
    "dropout": 0.5,
    "ema_decay": 0.9,
    "accumulate": 3,
    "clip_norm": 5.0,
    "hooks": {"evaluate": noisy_evaluation},
}


def test_stop_and_resume_is_exact(make_run: Any, tmp_path: Path) -> None:
    whole = make_run(tmp_path / "whole", epochs=4, **RUN)
    whole.trainer.fit()
    first = make_run(tmp_path / "parts", epochs=2, **RUN)
    first.trainer.fit()
    second = make_run(tmp_path / "parts", epochs=4, **RUN)
    assert second.trainer.restore()
    assert second.trainer.progress.epoch == 2
    second.trainer.fit()

    assert_same(_state(second), _state(whole))
    # the first part's last epoch is evaluated in both: evaluate_every is 1
    assert_same(first.lines + second.lines, whole.lines)
    assert len(whole.lines) == 4 * (2 + 1)
    _, state = whole.trainer.store.load_newest()
    assert_same(state["ema"], whole.trainer.ema.state_dict())


@pytest.mark.parametrize(
    ("stop_after", "accumulate"),
    [*((step, 1) for step in (1, 3, 4, 6, 8)), (1, 2), (3, 2)],
)
def test_stopped_at_any_step_and_resumed_is_exact(
    make_run: Any, tmp_path: Path, stop_after: int, accumulate: int
) -> None:
    """Within an epoch of four batches, at its end, and within a log window of three steps."""
    options = {"dropout": 0.5, "ema_decay": 0.9, "epochs": 3, "log_every": 3}
    options["accumulate"] = accumulate
    whole = make_run(tmp_path / "whole", **options, hooks={"evaluate": noisy_evaluation})
    whole.trainer.fit()
    steps = iter(range(1, 100))
    hooks = {
        "evaluate": noisy_evaluation,
        "stop_requested": lambda: next(steps) == stop_after,
    }
    first = make_run(tmp_path / "parts", **options, hooks=hooks)
    with pytest.raises(Interrupted, match=rf"stopped as asked after step {stop_after}; its state"):
        first.trainer.fit()
    second = make_run(tmp_path / "parts", **options, hooks={"evaluate": noisy_evaluation})
    assert second.trainer.restore()
    assert second.trainer.progress.step == stop_after
    second.trainer.fit()
    assert_same(_state(second), _state(whole))
    assert_same(first.lines + second.lines, whole.lines)


def test_an_evaluation_that_is_stopped_is_repeated(make_run: Any, tmp_path: Path) -> None:
    whole = make_run(tmp_path / "whole", epochs=2, hooks={"evaluate": noisy_evaluation})
    whole.trainer.fit()

    def stopped(module: nn.Module, epoch: int) -> dict[str, float]:
        noisy_evaluation(module, epoch)
        raise EvaluationStopped

    first = make_run(tmp_path / "parts", epochs=2, hooks={"evaluate": stopped})
    with pytest.raises(Interrupted, match=r"stopped as asked after step 4; its state"):
        first.trainer.fit()
    assert (first.trainer.progress.epoch, first.trainer.progress.closed) == (1, 0)
    second = make_run(tmp_path / "parts", epochs=2, hooks={"evaluate": noisy_evaluation})
    assert second.trainer.restore()
    second.trainer.fit()
    assert_same(_state(second), _state(whole))
    assert_same(first.lines + second.lines, whole.lines)


def _watch_saving(run: Any) -> list[int]:
    """The steps whose states are saved from now on."""
    saved: list[int] = []
    save = run.trainer.store.save

    def watched(step: int, state: Any) -> Path:
        saved.append(step)
        path: Path = save(step, state)
        return path

    run.trainer.store.save = watched
    return saved


def test_states_every_so_many_steps(make_run: Any) -> None:
    run = make_run(epochs=2, save_every_steps=3)
    saved = _watch_saving(run)
    run.trainer.fit()
    assert saved == [3, 4, 6, 8]


def test_states_every_so_many_minutes(make_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes 40 seconds by this clock, so two make more than a minute."""
    clock = [0.0]
    monkeypatch.setattr("cpn.engine.trainer.time.monotonic", lambda: clock[0])
    run = make_run(epochs=1, save_every_minutes=1)
    saved, loss = _watch_saving(run), run.trainer.task.loss

    def slow_loss(network: Any, batch: Any) -> Any:
        clock[0] += 40
        return loss(network, batch)

    run.trainer.task = replace(run.trainer.task, loss=slow_loss)
    run.trainer.fit()
    assert saved == [2, 4, 4]  # due at the epoch's end: before its evaluation and after it


def test_random_state_matters_in_the_resume_test(make_run: Any, tmp_path: Path) -> None:
    one = make_run(tmp_path / "one", **RUN)
    one.trainer.fit()
    other = make_run(tmp_path / "other", **RUN)
    torch.rand(1)
    other.trainer.fit()
    assert one.lines[0]["loss"] != other.lines[0]["loss"]


def test_evaluation_does_not_shift_training(make_run: Any, tmp_path: Path) -> None:
    with_evaluation = make_run(tmp_path / "with", epochs=3, **RUN)
    with_evaluation.trainer.fit()
    without = make_run(tmp_path / "without", epochs=3, **(RUN | {"hooks": {}}))
    without.trainer.fit()
    trained = capture(with_evaluation.trainer)
    plain = capture(without.trainer)
    for key in ("module", "optimizer", "ema", "ranks"):
        assert_same(trained[key], plain[key])


def test_accumulation_gives_the_big_batchs_curve(make_run: Any, tmp_path: Path) -> None:
    frozen = {"epochs": 3, "freeze_batch_norm": True}
    big = make_run(tmp_path / "big", global_batch=8, **frozen)
    small = make_run(tmp_path / "small", global_batch=4, accumulate=2, **frozen)
    big.trainer.fit()
    small.trainer.fit()
    assert len(big.lines) == len(small.lines) == 6
    for one, other in zip(big.lines, small.lines, strict=True):
        one.pop("kind"), other.pop("kind")
        assert one == pytest.approx(other, rel=1e-5)


def test_last_incomplete_group_steps_with_its_own_mean(make_run: Any, tmp_path: Path) -> None:
    """Three micro-batches in groups of two: the second step's gradient is the third's alone."""
    run = make_run(tmp_path / "three", length=12, accumulate=2, freeze_batch_norm=True)
    run.trainer.fit()
    first_group = make_run(
        tmp_path / "two", length=12, accumulate=2, freeze_batch_norm=True
    ).trainer
    *group, last = list(first_group.task.train_loader)
    first_group.task = replace(first_group.task, train_loader=group)
    first_group.fit()

    loss = first_group.task.loss(first_group.module, last).total
    gradients = torch.autograd.grad(loss, list(first_group.module.parameters()))
    norm = torch.linalg.vector_norm(torch.cat([g.flatten() for g in gradients]))
    assert [line["step"] for line in run.lines] == [1, 2]
    assert run.trainer.progress.step == run.trainer.steps_per_epoch == 2
    assert run.lines[1]["loss"] == pytest.approx(loss.item(), rel=1e-6)
    assert run.lines[1]["grad_norm"] == pytest.approx(norm.item(), rel=1e-5)


def test_schedule_advances_by_optimizer_step(make_run: Any) -> None:
    """Four micro-batches are two steps; the warm-up of three steps goes from 0.1 % to 100 %."""
    run = make_run(accumulate=2, epochs=2)
    run.trainer.fit()
    expected = [0.01 * (0.001 + 0.999 * step / 3) for step in range(4)]
    assert [line["lr"] for line in run.lines] == pytest.approx(expected)


def test_logged_means_cover_the_window(make_run: Any, tmp_path: Path) -> None:
    every = make_run(tmp_path / "every", log_every=1)
    every.trainer.fit()
    third = make_run(tmp_path / "third", log_every=3)
    third.trainer.fit()
    losses = [line["loss"] for line in every.lines]
    assert [line["step"] for line in third.lines] == [3, 4]
    assert third.lines[0]["loss"] == pytest.approx(sum(losses[:3]) / 3)
    assert third.lines[1]["loss"] == pytest.approx(losses[3])
    assert third.lines[0]["loss"] == pytest.approx(third.lines[0]["x"] + third.lines[0]["y"])


def test_frozen_batch_norm_keeps_statistics_and_trains_weights(make_run: Any) -> None:
    trainer = make_run(freeze_batch_norm=True).trainer
    trainer.fit()
    layer = trainer.module[1]
    assert torch.equal(layer.running_mean, torch.zeros(4))
    assert not torch.equal(layer.weight, torch.ones(4))


def test_batch_norm_learns_otherwise(make_run: Any) -> None:
    trainer = make_run().trainer
    trainer.fit()
    assert not torch.equal(trainer.module[1].running_mean, torch.zeros(4))


def test_clipping_limits_the_step(make_run: Any, tmp_path: Path) -> None:
    """SGD at lr 1 moves by exactly the clipped norm; the log has the norm before clipping."""
    trainer = make_run(clip_norm=0.25, freeze_batch_norm=True).trainer
    trainer.optimizer = build_optimizer(trainer.module, name="sgd", lr=1.0, momentum=0.0)
    trainer.scheduler = build_scheduler(trainer.optimizer, name="constant", total_steps=1)
    trainer.task = replace(trainer.task, train_loader=list(trainer.task.train_loader)[:1])
    before = [p.detach().clone() for p in trainer.module.parameters()]
    trainer.fit()
    moved = [p.detach() - q for p, q in zip(trainer.module.parameters(), before, strict=True)]
    assert math.sqrt(sum(float((m**2).sum()) for m in moved)) == pytest.approx(0.25, rel=1e-4)
    assert trainer.tracker.lines[0]["grad_norm"] > 1


def test_average_is_evaluated_saved_and_drawn(make_run: Any) -> None:
    seen: list[Any] = []

    def evaluate(module: nn.Module, _: int) -> dict[str, float]:
        seen.append(module)
        return {"AP": 0.1}

    hooks = {
        "evaluate": evaluate,
        "save_model": lambda module, *_: seen.append(module),
        "on_epoch_end": lambda module, *_: seen.append(module),
    }
    trainer = make_run(ema_decay=0.5, hooks=hooks).trainer
    trainer.fit()
    assert trainer.ema is not None
    assert len(seen) == 3
    assert all(module is trainer.ema.module for module in seen)


def test_best_is_marked_and_nan_is_never_best(make_run: Any) -> None:
    values = [math.nan, 0.3, math.inf, math.nan, 0.3, 0.4]
    saved: list[tuple[dict[str, float], bool]] = []
    hooks = {
        "evaluate": lambda _, epoch: {"AP": np.float64(values[epoch])},
        "save_model": lambda _, metrics, is_best: saved.append((metrics, is_best)),
    }
    progress = make_run(epochs=6, hooks=hooks).trainer.fit()
    assert [is_best for _, is_best in saved] == [False, True, False, False, False, True]
    assert (progress.best_value, progress.best_epoch) == (0.4, 6)
    assert saved[1][0] == {"AP": 0.3}


def test_evaluates_every_so_often_and_at_the_end(make_run: Any) -> None:
    saved: list[dict[str, float]] = []
    hooks = {
        "evaluate": lambda _, epoch: {"AP": float(epoch)},
        "save_model": lambda _, metrics, __: saved.append(metrics),
    }
    run = make_run(epochs=5, evaluate_every=2, hooks=hooks)
    run.trainer.fit()
    evaluated = [line["epoch"] for line in run.lines if line["kind"] == "eval"]
    assert evaluated == [1, 3, 4]
    assert saved == [{}, {"AP": 1.0}, {}, {"AP": 3.0}, {"AP": 4.0}]


def test_unknown_best_metric_is_refused(make_run: Any) -> None:
    run = make_run(best_metric="mAP", hooks={"evaluate": noisy_evaluation})
    with pytest.raises(UserError, match=r"chosen by mAP, which is no figure .* it has AP, AR"):
        run.trainer.fit()


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_nonfinite_loss_stops_before_the_weights_change(make_run: Any, factor: float) -> None:
    calls: list[dict[str, Tensor]] = []
    run = make_run(epochs=2)
    healthy = run.trainer.task.loss

    def failing(network: Any, batch: Any) -> Any:
        calls.append({k: v.clone() for k, v in run.trainer.module.state_dict().items()})
        loss = healthy(network, batch)
        return SimpleNamespace(
            total=loss.total * (factor if len(calls) == 6 else 1), parts=loss.parts
        )

    trainer = run.trainer
    trainer.task = replace(trainer.task, loss=failing)
    with pytest.raises(NonFiniteError, match=r"epoch 2, step 6: .*loss=(nan|inf), x=.*ids \[\d"):
        trainer.fit()
    assert trainer.progress.step == 5
    assert [each.file for each in trainer.store.states()] == ["step_00000004.ckpt"]
    weights = ["0.weight", "0.bias", "5.weight"]
    for name in weights:
        assert torch.equal(trainer.module.state_dict()[name], calls[-1][name])


@pytest.mark.parametrize(("bad_step", "saved"), [(6, [3, 4]), (8, [4, 6])])
def test_late_readings_change_no_line_and_stop_before_anything_is_saved(
    make_run: Any, tmp_path: Path, bad_step: int, saved: list[int]
) -> None:
    """As on a GPU, where the host is a step ahead of what it knows; 6 is saved, 8 ends an epoch."""
    at_once = make_run(tmp_path / "at_once", epochs=2)
    at_once.trainer.fit()
    late = make_run(tmp_path / "late", epochs=2)
    late.trainer._late = LateReader(lag=1)
    late.trainer.fit()
    assert late.lines == at_once.lines

    broken = make_run(tmp_path / "broken", epochs=2, save_every_steps=3).trainer
    broken._late = LateReader(lag=1)
    healthy, calls = broken.task.loss, list[int]()

    def failing(network: Any, batch: Any) -> Any:
        loss = healthy(network, batch)
        calls.append(1)
        return loss._replace(total=loss.total * math.nan) if len(calls) == bad_step else loss

    broken.task = replace(broken.task, loss=failing)
    with pytest.raises(NonFiniteError, match=rf"epoch 2, step {bad_step}: .*loss=nan.*ids \[\d"):
        broken.fit()
    assert [each.step for each in broken.store.states()] == saved


def test_a_step_asks_nothing_of_the_device(make_run: Any) -> None:
    """No `.item()` and the like, which would make the host wait for a GPU at every step."""
    trainer = make_run(epochs=2, ema_decay=0.9, clip_norm=1.0, log_every=100).trainer
    # AdamW's kernel for CPUs reads its step counters, which lie on the GPU for the one there.
    trainer.optimizer = torch.optim.SGD(trainer.module.parameters(), lr=0.01)
    trainer._train_epoch(0)  # lazy initialisations
    batches = list(trainer.task.train_loader)
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        for batch in batches[:3]:
            trainer._train_step(1, [batch])
    called = {event.key for event in recorded.key_averages()}
    assert "aten::mul_" in called
    waiting = {"aten::item", "aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero"}
    assert called & waiting == set()


def test_nonfinite_gradient_stops_too(make_run: Any) -> None:
    """sqrt has an infinite slope at 0, where the loss itself is finite."""
    trainer = make_run().trainer

    def flat_loss(network: Any, batch: Any) -> Any:
        return SimpleNamespace(total=(network(batch.images) * 0).sum().sqrt(), parts={})

    trainer.task = replace(trainer.task, loss=flat_loss)
    with pytest.raises(NonFiniteError, match=r"step 1: .*loss=0, grad_norm=nan"):
        trainer.fit()


def test_compiled_network_is_trained_and_the_plain_one_saved(
    make_run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiled: list[nn.Module] = []

    class Compiled(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self._orig_mod = module
            compiled.append(self)

        def forward(self, images: Tensor) -> Tensor:
            result: Tensor = self._orig_mod(images)
            return result * 2

    plain = make_run(tmp_path / "plain").trainer
    plain.fit()
    monkeypatch.setattr(torch, "compile", Compiled)
    trainer = make_run(tmp_path / "compiled", compile=True).trainer
    trainer.fit()
    assert len(compiled) == 1
    assert trainer.tracker.lines[0]["loss"] != plain.tracker.lines[0]["loss"]
    assert capture(trainer)["module"].keys() == capture(plain)["module"].keys()


def test_channels_last(make_run: Any) -> None:
    trainer = make_run(channels_last=True, ema_decay=0.9).trainer
    for module in (trainer.module, trainer.final_module):
        assert module[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_sync_batch_norm_needs_ranks(make_run: Any) -> None:
    with pytest.raises(UserError, match=r"engine.sync_batch_norm=true needs GPUs .*1 on cpu"):
        make_run(sync_batch_norm=True)


def test_empty_loader_is_refused() -> None:
    with pytest.raises(UserError, match="the training loader gives no batch"):
        steps_per_epoch([], 2)


def test_groups() -> None:
    assert list(in_groups(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(in_groups([], 2)) == []
