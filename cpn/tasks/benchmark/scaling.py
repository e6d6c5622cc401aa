"""What the ranks of a training cost each other: a batch of the same size on 1, 2 and 4 of them."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from cpn.benchmark.report import Report, usable_cores
from cpn.benchmark.timing import Timings, time_interleaved
from cpn.build import build_model
from cpn.config.schema import BenchmarkConfig
from cpn.engine.distributed import distributed_context, select_device
from cpn.engine.precision import Precision
from cpn.process.pool import process_pool
from cpn.skeleton import COCO_17
from cpn.tasks.benchmark.step import Way, random_batch, training_step

WORLD_SIZES = (1, 2, 4)
STEPS_PER_ROUND = 2
TIMEOUT_SECONDS = 120.0
WITH, WITHOUT = "step with exchange", "step without"


class RankTask(NamedTuple):
    """One world's measurement, the same on all its ranks.

    Attributes:
        config: what is measured.
        world_size: number of ranks.
        rendezvous: a file through which they find each other.
    """

    config: BenchmarkConfig
    world_size: int
    rendezvous: Path


def benchmark_scaling(config: BenchmarkConfig) -> Report:
    """Times training steps of a fixed batch per rank, with and without exchanging gradients."""
    device = select_device(config.engine.device)
    model = build_model(config, num_keypoints=COCO_17.num_keypoints, weights="none")
    gradients = sum(p.numel() * 4 for p in model.parameters() if p.requires_grad)
    settings = {
        "backbone": config.backbone.name,
        "input": f"{config.input.height}x{config.input.width}",
        "batch_per_rank": config.engine.batch_size,
        "precision": Precision(config.engine.precision, device).name,
        "backend": "nccl" if device.type == "cuda" else "gloo",
        "rounds": config.rounds,
    }
    report = Report("scaling", settings)
    report.add("gradients of a step", "MB", gradients / 1e6)
    for world_size in WORLD_SIZES:
        if device.type != "cuda" or world_size <= torch.cuda.device_count():
            _add(report, world_size, measure_ranks(config, world_size), gradients)
    return report


def _add(report: Report, world_size: int, timings: Timings, gradients: int) -> None:
    name = f"{world_size} rank{'s' if world_size > 1 else ''}"
    report.add(f"{name}: all together", "images/s", timings.rate(WITH), scale=world_size)
    if world_size == 1:
        return
    report.add(f"{name}: without exchange", "images/s", timings.rate(WITHOUT), scale=world_size)
    share = 1 - timings.ratio(WITHOUT, WITH).median
    report.add(f"{name}: share of the exchange in a step", "%", share * 100)
    # A ring sends and receives each gradient twice, but for the rank's own part.
    sent = 2 * (world_size - 1) / world_size * gradients
    report.add(f"{name}: sent by each rank in a step", "MB", sent / 1e6)


def measure_ranks(config: BenchmarkConfig, world_size: int) -> Timings:
    """Seconds per image of rank 0, in processes of their own."""
    with tempfile.TemporaryDirectory(prefix="cpn-benchmark-") as folder:
        task = RankTask(config, world_size, Path(folder) / "rendezvous")
        with process_pool(world_size) as pool:
            return list(pool.map(partial(_run_rank, task), range(world_size)))[0]  # noqa: RUF015 - all must end


def _run_rank(task: RankTask, rank: int) -> Timings:
    config = task.config
    torch.set_num_threads(max(1, usable_cores() // task.world_size))
    with (
        _environment(task.world_size, rank),
        distributed_context(
            config.engine.device,
            timeout_seconds=TIMEOUT_SECONDS,
            init_method=task.rendezvous.as_uri(),
        ) as context,
    ):
        precision = Precision(config.engine.precision, context.device).name
        way = Way("coarse_first", torch.channels_last, precision, config.engine.compile)
        batch = random_batch(config, context.device)
        step = training_step(config, way, batch, context=context)

        def steps(*, exchange: bool) -> int:
            context.barrier()
            return sum(step(exchange=exchange) for _ in range(STEPS_PER_ROUND))

        cases = {WITH: partial(steps, exchange=True), WITHOUT: partial(steps, exchange=False)}
        return time_interleaved(cases, rounds=config.rounds)


@contextmanager
def _environment(world_size: int, rank: int) -> Iterator[None]:
    """What torchrun would set."""
    given = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)}
    os.environ.update(given)
    try:
        yield
    finally:
        for name in given:
            del os.environ[name]
