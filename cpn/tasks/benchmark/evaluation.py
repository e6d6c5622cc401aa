"""What evaluation costs beside the network's forward passes, and how long one person waits."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from cpn.benchmark.report import Report
from cpn.benchmark.timing import time_interleaved
from cpn.build import build_model
from cpn.config.schema import BenchmarkConfig
from cpn.data.loaders import PoseLoader
from cpn.data.sample import PoseBatch
from cpn.engine.distributed import DistributedContext, select_device
from cpn.engine.precision import Precision, computes_bf16
from cpn.models.folding import folded
from cpn.prediction.estimator import PoseEstimator
from cpn.skeleton import Skeleton
from cpn.tasks.benchmark.engines import VAL2017, measure_engines
from cpn.tasks.benchmark.photos import people_to_measure
from cpn.tasks.benchmark.step import synchronise
from cpn.tasks.data.datasets import evaluation_batches, evaluation_dataset
from cpn.tasks.evaluation.estimation import estimate_instances

PEOPLE = 32
LATENCY_CALLS = 4

Estimators = Mapping[str, PoseEstimator]


def benchmark_evaluation(config: BenchmarkConfig) -> Report:
    """Times scoring, the evaluation loop against its forward passes, and single people."""
    device = select_device(config.engine.device)
    settings = {
        "backbone": config.backbone.name,
        "input": f"{config.input.height}x{config.input.width}",
        "batch": config.engine.batch_size,
        "workers": config.data.workers,
        "flip_test": config.decode.flip_test,
        "device": str(device),
        "rounds": config.rounds,
    }
    report = Report("evaluation", settings)
    measure_engines(report, VAL2017)
    with people_to_measure(config) as people:
        some = replace(people, instances=people.instances[:PEOPLE])
        batches = evaluation_batches(
            evaluation_dataset(some, config.input),
            DistributedContext(device=device),
            batch_size=config.engine.batch_size,
            workers=config.data.workers,
        )
        estimators = _estimators(config, people.skeleton, device)
        _measure_loop(report, config, estimators, batches)
        _measure_latency(report, config, estimators, next(iter(batches)))
    return report


def _estimators(config: BenchmarkConfig, skeleton: Skeleton, device: torch.device) -> Estimators:
    """The same network in every precision that the device computes in."""
    model = build_model(config, num_keypoints=skeleton.num_keypoints, weights="none")
    model = folded(model, config.input.size_hw).to(device).to(memory_format=torch.channels_last)
    names = ["fp32", *(["bf16"] if computes_bf16(device) else [])]
    return {
        name: PoseEstimator.from_config(model, skeleton, config, precision=Precision(name, device))
        for name in names
    }


def _measure_loop(
    report: Report, config: BenchmarkConfig, estimators: Estimators, batches: PoseLoader
) -> None:
    crops = [batch.crops.clone() for batch in batches]
    for precision, estimator in estimators.items():

        def forward(estimator: PoseEstimator = estimator) -> int:
            return sum(_heatmaps(estimator, part) for part in crops)

        def loop(estimator: PoseEstimator = estimator) -> int:
            return len(estimate_instances(estimator, batches))

        timings = time_interleaved({"forward": forward, "loop": loop}, rounds=config.rounds)
        for name in timings.seconds:
            report.add(f"{precision}: {name}", "people/s", timings.rate(name))
        share = timings.ratio("loop", "forward")
        report.add(f"{precision}: loop over its forward passes", "time ratio", share)
        name = f"{precision}: evaluation loop over its forward passes"
        report.require(name, share.median, "at most", 1.15)


def _measure_latency(
    report: Report, config: BenchmarkConfig, estimators: Estimators, batch: PoseBatch
) -> None:
    """One person at a time, as a camera asks: the network alone, and all that predicts a pose."""
    crops, matrices = batch.crops[:1], batch.image_to_crop[:1]
    cases: dict[str, Callable[[], int]] = {}
    for precision, estimator in estimators.items():
        for flip_test in (False, True):
            decode = estimator.decode.model_copy(update={"flip_test": flip_test})
            way = replace(estimator, decode=decode)
            name = f"{precision}{', flip test' if flip_test else ''}"
            cases[f"{name}: network"] = partial(_repeated, partial(_heatmaps, way, crops))
            cases[f"{name}: pose"] = partial(_repeated, partial(_pose, way, crops, matrices))
    timings = time_interleaved(cases, rounds=config.rounds)
    for name in cases:
        report.add(f"one person, {name}", "ms", timings.cost(name), scale=1e3)


def _repeated(call: Callable[[], int]) -> int:
    return sum(call() for _ in range(LATENCY_CALLS))


def _pose(estimator: PoseEstimator, crops: Tensor, image_to_crop: Tensor) -> int:
    """From crops to keypoints in the photo, on the host."""
    return len(estimator(crops.to(estimator.model.pixel_mean.device), image_to_crop).points_image)


def _heatmaps(estimator: PoseEstimator, crops: Tensor) -> int:
    """Forward passes alone, with the flip test where the config has it."""
    device = estimator.model.pixel_mean.device
    estimator.heatmaps(crops.to(device))
    synchronise(device)
    return len(crops)
