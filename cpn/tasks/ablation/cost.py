"""Measures what a variant costs: `python -m cpn.tasks.ablation.cost ORDER`."""

import resource
import statistics
import time
from collections.abc import Callable
from itertools import chain, islice, repeat
from pathlib import Path

import torch

from cpn.ablation.budget import Pace
from cpn.ablation.costs import VariantCost
from cpn.ablation.outcome import Cost
from cpn.build import PoseCriterion, build_encoder, build_loss, build_model
from cpn.config.schema import TrainConfig
from cpn.data.annotations import PersonAnnotations
from cpn.engine.distributed import DistributedContext, distributed_context
from cpn.engine.parallel import set_training_mode
from cpn.engine.precision import Precision
from cpn.engine.seeding import seed_everything
from cpn.engine.trainer import steps_per_epoch
from cpn.models.cpn import CascadedPyramidNetwork
from cpn.models.folding import folded
from cpn.models.statistics import model_statistics
from cpn.tasks.ablation.orders import TimingOrder, obey
from cpn.tasks.datasets import read_split, training_batches
from cpn.tasks.epoch_evaluation import EpochEvaluation
from cpn.tasks.estimation import estimated_batches
from cpn.tasks.training import optimizer_for

WARM_UP = 2
EVALUATED_BATCHES = 2


def measure(order: TimingOrder) -> None:
    """Writes parameters, GFLOPs, speeds and memory of a variant's training and use.

    Raises:
        UserError: data, network or settings cannot be used: found out before the study begins.
    """
    config = order.config
    engine = config.engine
    with distributed_context(engine.device, timeout_seconds=engine.timeout_seconds) as context:
        people = read_split(config.data, config.data.train, for_training=True)
        seed_everything(config.seed)
        model = build_model(config, num_keypoints=people.skeleton.num_keypoints).to(context.device)
        if engine.channels_last:
            model = model.to(memory_format=torch.channels_last)
        counted = model_statistics(model, config.input.size_hw)
        seconds, steps = _training(config, context, model, people, order.steps)
        memory = _peak_mebibytes(context.device)
        evaluation = EpochEvaluation.from_config(config, context, skeleton=people.skeleton)
        found = VariantCost(
            cost=Cost(
                parameters=counted.parameters,
                gflops=counted.gflops,
                training_rate=engine.batch_size / seconds,
                latency_ms=1000 * _latency(model, config, order.steps),
                memory_mib=memory,
            ),
            pace=Pace(seconds, steps, _evaluation(evaluation, model)),
            device=_device_name(context.device),
        )
    found.save(Path(order.out))


def _training(
    config: TrainConfig,
    context: DistributedContext,
    model: CascadedPyramidNetwork,
    people: PersonAnnotations,
    count: int,
) -> tuple[float, int]:
    """Seconds of a step, with reading; and how many steps an epoch has."""
    loader = training_batches(people, config, context)
    levels = model.level_names
    criterion = PoseCriterion(model, build_encoder(config.heatmap), build_loss(config.loss, levels))
    precision = Precision(config.engine.precision, context.device)
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
            _settle(context.device)
            began = time.perf_counter()
        on_device = batch.to(context.device, non_blocking=True)
        precision.backward(criterion(network, on_device).total / accumulate)
        if (number + 1) % accumulate == 0:
            precision.step(optimizer)
    _settle(context.device)
    return (time.perf_counter() - began) / count, steps_per_epoch(loader, accumulate)


@torch.inference_mode()
def _latency(model: CascadedPyramidNetwork, config: TrainConfig, count: int) -> float:
    """Seconds of the network for one person, as it is used: with folded BatchNorm."""
    network = folded(model.eval(), config.input.size_hw)
    device = next(network.parameters()).device
    called = Precision(config.engine.precision, device).autocast_calls(network)
    crop = torch.zeros(1, 3, *config.input.size_hw, device=device)
    crop = crop.contiguous(memory_format=torch.channels_last)
    return _median_seconds(lambda: called(crop), device, max(10, count))


def _evaluation(evaluation: EpochEvaluation, model: CascadedPyramidNetwork) -> float:
    """Seconds for all validation people, extrapolated from the first few."""
    estimator = evaluation.estimator(model)
    began = time.perf_counter()
    few = islice(evaluation.people.batches, EVALUATED_BATCHES)
    done = sum(len(poses) for poses in estimated_batches(estimator, few))
    everybody = len(evaluation.people.scorer.people.instances)
    return (time.perf_counter() - began) * everybody / max(1, done)


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


if __name__ == "__main__":
    obey(TimingOrder, measure)
