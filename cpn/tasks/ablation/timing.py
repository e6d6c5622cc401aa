"""Measures what a variant costs, whatever the study is of."""

import resource
import statistics
import time
from collections.abc import Callable, Iterable
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from cpn.ablation.budget import Pace
from cpn.ablation.costs import VariantCost
from cpn.ablation.outcome import Cost
from cpn.config.schema import TrainingConfig
from cpn.data.worker_loader import WorkerLoader
from cpn.engine.distributed import DistributedContext, distributed_context
from cpn.engine.parallel import set_training_mode
from cpn.engine.precision import Precision
from cpn.engine.seeding import seed_everything
from cpn.engine.trainer import steps_per_epoch
from cpn.tasks.ablation.orders import ConfigT, TimingOrder
from cpn.tasks.training.session import optimizer_for

WARM_UP = 2
EVALUATED_BATCHES = 2


class Use(NamedTuple):
    """A network in use.

    Attributes:
        gflops: billions of multiply-adds of one sample.
        once: one sample, as it is used.
        some: evaluates the batches given, and says how many samples they were.
        batches: of the validation set.
        number: of its samples.
    """

    gflops: float
    once: Callable[[], object]
    some: Callable[[Iterable[Any]], int]
    batches: Iterable[Any]
    number: int


class Timed(NamedTuple):
    """What is timed of a variant.

    Attributes:
        model: on its device.
        loader: of training batches.
        loss: of the network, as the engine calls it, and a batch; its `total` is what is trained.
        use: made when the training has been measured, so that its memory does not count.
    """

    model: nn.Module
    loader: WorkerLoader[Any]
    loss: Callable[[Any, Any], Any]
    use: Callable[[], Use]


def measure(
    order: TimingOrder[ConfigT], assemble: Callable[[ConfigT, DistributedContext], Timed]
) -> None:
    """Writes parameters, GFLOPs, speeds and memory of a variant's training and use.

    Raises:
        UserError: data, network or settings cannot be used: found out before the study begins.
    """
    config, engine = order.config, order.config.engine
    with distributed_context(engine.device, timeout_seconds=engine.timeout_seconds) as context:
        seed_everything(config.seed)
        timed = assemble(config, context)
        model = timed.model
        if engine.channels_last:
            model.to(memory_format=torch.channels_last)
        seconds, steps = _training(config, context.device, timed, order.steps)
        memory = _peak_mebibytes(context.device)
        use = timed.use()
        with torch.inference_mode():
            latency = _median_seconds(use.once, context.device, max(10, order.steps))
        found = VariantCost(
            cost=Cost(
                parameters=sum(parameter.numel() for parameter in model.parameters()),
                gflops=use.gflops,
                training_rate=engine.batch_size / seconds,
                latency_ms=1000 * latency,
                memory_mib=memory,
            ),
            pace=Pace(seconds, steps, _evaluation(use)),
            device=_device_name(context.device),
        )
    found.save(Path(order.out))


def _training(
    config: TrainingConfig, device: torch.device, timed: Timed, count: int
) -> tuple[float, int]:
    """Seconds of a step, with reading; and how many steps an epoch has."""
    model, loader = timed.model, timed.loader
    precision = Precision(config.engine.precision, device)
    optimizer = optimizer_for(model, config.optimizer)
    network = precision.autocast_calls(torch.compile(model) if config.engine.compile else model)
    set_training_mode(model, freeze_batch_norm=config.engine.freeze_batch_norm)
    accumulate = config.engine.accumulate
    loader.set_epoch(0, 0)
    # A small set is gone through again: what is timed is how long a step takes.
    batches = islice(chain.from_iterable(repeat(loader)), (WARM_UP + count) * accumulate)
    began = time.perf_counter()
    for number, batch in enumerate(batches):
        if number == WARM_UP * accumulate:
            _settle(device)
            began = time.perf_counter()
        on_device = batch.to(device, non_blocking=True)
        precision.backward(timed.loss(network, on_device).total / accumulate)
        if (number + 1) % accumulate == 0:
            precision.step(optimizer)
    _settle(device)
    return (time.perf_counter() - began) / count, steps_per_epoch(loader, accumulate)


def _evaluation(use: Use) -> float:
    """Seconds for the whole validation set, extrapolated from its first few samples."""
    began = time.perf_counter()
    done = use.some(islice(use.batches, EVALUATED_BATCHES))
    return (time.perf_counter() - began) * use.number / max(1, done)


def _median_seconds(function: Callable[[], object], device: torch.device, count: int) -> float:
    seconds = []
    for _ in range(WARM_UP + count):
        began = time.perf_counter()
        function()
        _settle(device)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[WARM_UP:])


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_mebibytes(device: torch.device) -> float:
    """Of this process so far: of a GPU's memory where there is one."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"
