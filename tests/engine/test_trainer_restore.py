"""What a trainer takes over from a training state, and what it refuses."""

from typing import Any

import pytest
import torch
from torch import nn

from cpn.engine.distributed import DistributedContext
from cpn.engine.settings import TrainerSettings
from cpn.engine.tracking import NullTracker
from cpn.engine.trainer import Trainer
from cpn.errors import UserError


def test_restore_in_a_fresh_run(make_run: Any) -> None:
    assert not make_run().trainer.restore()


def test_resuming_a_finished_run_trains_no_more(make_run: Any) -> None:
    make_run(epochs=2).trainer.fit()
    run = make_run(epochs=2)
    assert run.trainer.restore()
    assert run.trainer.fit().epoch == 2
    assert run.lines == []


def test_restore_refuses_another_model(make_run: Any) -> None:
    make_run().trainer.fit()
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.PReLU())
    run = make_run().trainer
    other = Trainer(
        network,
        run.task,
        optimizer=run.optimizer,
        scheduler=run.scheduler,
        settings=TrainerSettings(epochs=1),
        context=DistributedContext(),
        tracker=NullTracker(),
        store=run.store,
    )
    with pytest.raises(
        UserError,
        match=r"_00000004.ckpt do not fit .*unexpected: 1.bias.*shape differs: 0.weight",
    ):
        other.restore()


def test_restore_refuses_another_average(make_run: Any) -> None:
    make_run().trainer.fit()
    with pytest.raises(UserError, match=r"saved without an average .* engine.ema_decay=0.9"):
        make_run(ema_decay=0.9).trainer.restore()


def test_restore_refuses_another_optimizer(make_run: Any) -> None:
    make_run().trainer.fit()
    trainer = make_run().trainer
    trainer.optimizer = torch.optim.SGD(trainer.module.parameters())
    with pytest.raises(UserError, match=r"the optimizer of .*_00000004.ckpt is a different one"):
        trainer.restore()


def test_another_precision_than_before_is_told(
    make_run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    make_run().trainer.fit()
    trainer = make_run().trainer
    _, state = trainer.store.load_newest()
    assert trainer.restore()
    assert "precision" not in caplog.text
    trainer.store.save(5, state | {"precision_name": "bf16"})
    assert trainer.restore()
    assert "resumed with precision fp32 what ran with bf16" in caplog.text


def test_more_ranks_than_before_are_told(make_run: Any, caplog: pytest.LogCaptureFixture) -> None:
    make_run().trainer.fit()
    trainer = make_run().trainer
    _, state = trainer.store.load_newest()
    state["ranks"] = state["ranks"] * 2
    trainer.store.save(5, state)
    assert trainer.restore()
    assert "resumed on 1 ranks what ran on 2" in caplog.text
