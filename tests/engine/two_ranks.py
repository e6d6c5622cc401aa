"""What one of two ranks does for test_distributed.py: `python two_ranks.py FOLDER`."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cpn.engine.distributed import DistributedContext, distributed_context
from cpn.engine.failpoints import HERE
from cpn.engine.trainer import NonFiniteError
from cpn.process.interruption import Interrupted
from tests.engine.conftest import tiny_run
from tests.ranks import write_report


def helpers(context: DistributedContext) -> dict[str, Any]:
    layer = torch.nn.BatchNorm1d(1)
    assert layer.running_mean is not None
    layer.running_mean.fill_(context.rank)
    context.average_batch_norm(torch.nn.Sequential(layer))
    context.barrier()
    return {
        "gathered": context.all_gather_object({"rank": context.rank}),
        "broadcast": context.broadcast_object([context.rank]),
        "mean": context.reduce_mean(torch.tensor([context.rank, 1.0])).tolist(),
        "any": context.any(torch.tensor([context.rank == r for r in (0, 1, 2)])).tolist(),
        "running_mean": layer.running_mean.tolist(),
    }


def digest(state: dict[str, Tensor]) -> float:
    return float(sum(value.detach().double().abs().sum() for value in state.values()))


def curves(context: DistributedContext, folder: Path) -> dict[str, Any]:
    """Loss curves over 20 steps, with one and with two micro-batches per step."""
    found: dict[str, Any] = {}
    for accumulate in (1, 2):
        run = tiny_run(
            folder / f"accumulate_{accumulate}",
            context=context,
            global_batch=4,
            length=16 * accumulate,
            epochs=5,
            accumulate=accumulate,
            freeze_batch_norm=True,
            ema_decay=0.9,
        )
        run.trainer.fit()
        found[f"accumulate_{accumulate}"] = run.lines
        found[f"weights_{accumulate}"] = digest(run.trainer.final_module.state_dict())
    return found


def resumed(context: DistributedContext, folder: Path) -> dict[str, Any]:
    """Four epochs with dropout and BatchNorm, at once and in two parts."""
    options: dict[str, Any] = {"context": context, "dropout": 0.5, "ema_decay": 0.9}
    whole = tiny_run(folder / "whole", epochs=4, **options)
    whole.trainer.fit()
    tiny_run(folder / "parts", epochs=2, **options).trainer.fit()
    second = tiny_run(folder / "parts", epochs=4, **options)
    assert second.trainer.restore()
    second.trainer.fit()
    states = [run.trainer.final_module.state_dict() for run in (whole, second)]
    return {
        "equal": all(torch.equal(states[0][key], states[1][key]) for key in states[0]),
        "log_equal": whole.lines[8:] == second.lines,
        "weights": digest(states[1]),
        "buffers": digest(dict(second.trainer.module.named_buffers())),
        "checkpoints": [each.file for each in second.trainer.store.states()],
    }


def diverged(context: DistributedContext, folder: Path) -> dict[str, Any]:
    """Rank 1's loss is NaN at step 3, but not its gradient: rank 0 has to be told."""
    run = tiny_run(folder / "nan", context=context, epochs=1)
    healthy: Any = run.trainer.task.loss
    calls: list[Any] = []

    def failing(network: Any, batch: Any) -> Any:
        calls.append(batch)
        loss = healthy(network, batch)
        broken = context.rank == 1 and len(calls) == 3
        return loss._replace(total=loss.total + float("nan")) if broken else loss

    run.trainer.task = replace(run.trainer.task, loss=failing)
    try:
        run.trainer.fit()
    except NonFiniteError as error:
        return {"message": str(error), "checkpoints": len(run.trainer.store.states())}
    return {"message": "no error"}


def stopped(context: DistributedContext, folder: Path) -> dict[str, Any]:
    """Rank 1 alone is asked to stop, at step 3."""
    asked = {"stop_requested": lambda: context.rank == 1 and HERE.step == 3}
    run = tiny_run(folder / "stopped", context=context, hooks=asked)
    try:
        run.trainer.fit()
    except Interrupted as interrupted:
        states = [each.step for each in run.trainer.store.states()]
        return {"message": str(interrupted), "states": states}
    return {"message": "it was not heeded"}


def overflowed(context: DistributedContext, folder: Path) -> dict[str, Any]:
    """Rank 1's gradient overflows in the first of step 3's two micro-batches, as fp16's may."""
    run = tiny_run(folder / "overflow", context=context, global_batch=4, accumulate=2, epochs=2)
    precision = run.trainer.precision
    precision._scaler = torch.amp.GradScaler("cpu")
    healthy: Any = run.trainer.task.loss
    calls, seen = list[int](), list[dict[str, Any]]()

    def failing(network: Any, batch: Any) -> Any:
        loss = healthy(network, batch)
        calls.append(1)
        if context.rank == 1 and len(calls) == 5:
            loss.total.register_hook(lambda gradient: gradient * torch.inf)
        return loss

    step = precision.step

    def noted(optimizer: Any) -> None:
        before = digest(dict(run.trainer.module.named_parameters()))
        step(optimizer)
        after = digest(dict(run.trainer.module.named_parameters()))
        seen.append({"moved": before != after, "weights": after, **precision.state_dict()})

    precision.step = noted  # type: ignore[method-assign]
    run.trainer.task = replace(run.trainer.task, loss=failing)
    run.trainer.fit()
    resumed = tiny_run(folder / "overflow", context=context, epochs=2, accumulate=2).trainer
    resumed.precision._scaler = torch.amp.GradScaler("cpu")
    resumed.restore()
    return {"steps": seen, "restored": resumed.precision.state_dict()}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    address = f"file://{folder / 'rendezvous'}"
    with distributed_context("cpu", timeout_seconds=30, init_method=address) as context:
        report = {
            "helpers": helpers(context),
            "curves": curves(context, folder),
            "resumed": resumed(context, folder),
            "diverged": diverged(context, folder),
            "stopped": stopped(context, folder),
            "overflowed": overflowed(context, folder),
        }
        write_report(folder, report)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
