from pathlib import Path
from typing import Any

import pytest
import torch

from cpn.engine.distributed import DistributedContext, distributed_context, select_device
from cpn.errors import UserError
from tests.ranks import run_ranks


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The reports of two gloo processes (see two_ranks.py)."""
    folder = tmp_path_factory.mktemp("ranks")
    script = Path(__file__).with_name("two_ranks.py")
    return [outcome.report for outcome in run_ranks(script, folder)]


def test_helpers_on_two_ranks(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        assert rank["helpers"] == {
            "gathered": [{"rank": 0}, {"rank": 1}],
            "broadcast": [0],
            "mean": [0.5, 1.0],
            "any": [True, True, False],
            "running_mean": [0.5],
        }


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_ranks_give_one_ranks_curve(
    ranks: list[dict[str, Any]], make_run: Any, accumulate: int
) -> None:
    run = make_run(
        global_batch=4,
        length=16 * accumulate,
        epochs=5,
        accumulate=accumulate,
        freeze_batch_norm=True,
        ema_decay=0.9,
    )
    run.trainer.fit()
    for rank in ranks:
        lines = rank["curves"][f"accumulate_{accumulate}"]
        assert len(lines) == len(run.lines) == 20
        for two, one in zip(lines, run.lines, strict=True):
            assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
            assert two["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-4)
    weights = [rank["curves"][f"weights_{accumulate}"] for rank in ranks]
    assert weights[0] == weights[1]


def test_two_ranks_resume_exactly_and_agree(ranks: list[dict[str, Any]]) -> None:
    one, other = (rank["resumed"] for rank in ranks)
    for rank in (one, other):
        assert rank["equal"]
        assert rank["log_equal"]
        assert rank["checkpoints"] == ["step_00000012.ckpt", "step_00000016.ckpt"]
    assert one["weights"] == other["weights"]
    assert one["buffers"] == other["buffers"]


def test_nan_on_one_rank_stops_both(ranks: list[dict[str, Any]]) -> None:
    for number, rank in enumerate(ranks):
        assert f"epoch 1, step 3: on rank {number} " in rank["diverged"]["message"]
        assert rank["diverged"]["checkpoints"] == 0
    assert "loss=nan" in ranks[1]["diverged"]["message"]
    assert "loss=nan" not in ranks[0]["diverged"]["message"]


def test_one_rank_that_is_asked_to_stop_stops_both(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        assert rank["stopped"]["message"].startswith("stopped as asked after step 3; its state is")
        assert rank["stopped"]["states"] == [3]


def test_ranks_of_torchrun_die_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr("cpn.engine.distributed.die_with_parent", lambda: calls.append("asked"))
    with distributed_context("cpu"):
        assert calls == []
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with distributed_context("cpu"):
        assert calls == ["asked"]


def test_an_overflow_on_one_rank_is_skipped_by_both(ranks: list[dict[str, Any]]) -> None:
    """F10: fp16's scaler, which a CPU has, too; no other part of fp16 decides anything."""
    one, other = (rank["overflowed"] for rank in ranks)
    assert one == other
    assert [step["moved"] for step in one["steps"]] == [True, True, False, True]
    assert [step["scale"] for step in one["steps"]] == [65536, 65536, 32768, 32768]
    assert one["restored"]["scale"] == 32768


def test_alone_without_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    with distributed_context("cpu") as context:
        assert not torch.distributed.is_initialized()
        assert context == DistributedContext(0, 1, torch.device("cpu"))
        assert context.is_main
        context.barrier()
        assert context.all_gather_object("a") == ["a"]
        assert context.broadcast_object("a") == "a"
        assert context.reduce_mean(torch.tensor(2.0)) == 2
        assert context.any(torch.tensor(True))
        assert not context.any(torch.tensor(False))


def test_device_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert select_device("auto") == select_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match=r"device='tpu' is not known; use auto, cpu or cuda"):
        select_device("tpu")
    with pytest.raises(UserError, match=r"device=cuda .*, but torch sees no CUDA GPU"):
        select_device("cuda")


def test_each_local_rank_has_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert select_device("auto", 1) == torch.device("cuda", 1)
    with pytest.raises(UserError, match=r"local rank 2 has no GPU: torch sees 2"):
        select_device("cuda", 2)
