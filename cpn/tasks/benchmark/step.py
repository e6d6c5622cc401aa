"""What a training step and a forward pass cost, against the network as published."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from cpn.benchmark.report import Report
from cpn.benchmark.timing import time_interleaved
from cpn.build import PoseCriterion, build_encoder, build_loss, build_model
from cpn.config.schema import BenchmarkConfig
from cpn.data.photometrics import NO_HOLES, SAME_COLOUR
from cpn.data.sample import PoseBatch
from cpn.engine.distributed import DistributedContext, select_device
from cpn.engine.parallel import wrap_ddp
from cpn.engine.precision import Precision, computes_bf16
from cpn.models.cpn import CascadedPyramidNetwork
from cpn.models.folding import folded
from cpn.models.layers import Order
from cpn.models.statistics import model_statistics
from cpn.skeleton import COCO_17
from cpn.tasks.training.session import optimizer_for

PUBLISHED = "as published: NCHW, fp32"


@dataclass(frozen=True)
class Way:
    """A way to compute the same network."""

    order: Order
    memory_format: torch.memory_format
    precision: str
    compiled: bool = False


def benchmark_step(config: BenchmarkConfig) -> Report:
    """Times forward passes and training steps of random weights on random crops.

    The goals are those of the config's own precision, compiled if it is.
    """
    device = select_device(config.engine.device)
    ways = _ways(config, device)
    model = build_model(config, num_keypoints=COCO_17.num_keypoints, weights="none")
    batch = random_batch(config, device)
    size = config.input.size_hw
    settings = {
        "backbone": config.backbone.name,
        "input": f"{size[0]}x{size[1]}",
        "batch": batch.num_samples,
        "device": str(device),
        "rounds": config.rounds,
        "network": model_statistics(model, size).summary(),
    }
    report = Report("step", settings)
    own = _name(Precision(config.engine.precision, device).name, compiled=config.engine.compile)
    steps = {name: training_step(config, way, batch) for name, way in ways.items()}
    forwards = {name: forward_pass(config, way, batch) for name, way in ways.items()}
    for what, cases, goal in (("train step", steps, 0.80), ("forward", forwards, 0.68)):
        timings = time_interleaved(cases, rounds=config.rounds)
        for name in cases:
            report.add(f"{what}, {name}", "images/s", timings.rate(name))
        for name in list(cases)[1:]:
            ratio = timings.ratio(name, PUBLISHED)
            report.add(f"{what}, {name}, over published", "time ratio", ratio)
            if name == own and device.type == "cpu":
                name_of_goal = f"{what} as configured ({own}) over published"
                report.require(name_of_goal, ratio.median, "at most", goal)
    return report


def _ways(config: BenchmarkConfig, device: torch.device) -> dict[str, Way]:
    own = Precision(config.engine.precision, device).name
    precisions = dict.fromkeys(["fp32", *(["bf16"] if computes_bf16(device) else []), own])
    ways = {PUBLISHED: Way("published", torch.contiguous_format, "fp32")}
    for compiled in [False, True] if config.engine.compile else [False]:
        for precision in precisions:
            way = Way("coarse_first", torch.channels_last, precision, compiled)
            ways[_name(precision, compiled=compiled)] = way
    return ways


def _name(precision: str, *, compiled: bool) -> str:
    return f"{precision}, compiled" if compiled else precision


def random_batch(config: BenchmarkConfig, device: torch.device) -> PoseBatch:
    """Noise, with keypoints anywhere in the crops."""
    generator = torch.Generator().manual_seed(config.seed)
    n, k = config.engine.batch_size, COCO_17.num_keypoints
    height, width = config.input.height, config.input.width
    crops = torch.randint(0, 256, (n, height, width, 3), dtype=torch.uint8, generator=generator)
    batch = PoseBatch(
        crops=crops.permute(0, 3, 1, 2),
        points=torch.rand(n, k, 2, generator=generator) * torch.tensor([width, height]),
        visibility=torch.randint(0, 3, (n, k), generator=generator),
        image_to_crop=torch.eye(2, 3, dtype=torch.float64).expand(n, 2, 3).clone(),
        instance_ids=torch.arange(n),
        image_ids=torch.arange(n),
        box_scores=torch.ones(n, dtype=torch.float64),
        box_areas=torch.ones(n, dtype=torch.float64),
        colours=torch.from_numpy(SAME_COLOUR).expand(n, 3, 4) * 0.9,
        holes=torch.from_numpy(NO_HOLES).expand(n, -1, 4).clone(),
    )
    return batch.to(device)


def _model(
    config: BenchmarkConfig, way: Way, device: torch.device, *, for_use: bool = False
) -> CascadedPyramidNetwork:
    model = build_model(config, num_keypoints=COCO_17.num_keypoints, weights="none")
    if for_use and way.order == "coarse_first":
        model = folded(model, config.input.size_hw)
    model = model.to(device).to(memory_format=way.memory_format)
    model.set_order(way.order)
    return model


def _called(network: nn.Module, way: Way, device: torch.device) -> Callable[..., object]:
    """The network as the way calls it."""
    compiled: Callable[..., object] = torch.compile(network) if way.compiled else network
    return Precision(way.precision, device).autocast_calls(compiled)


def training_step(
    config: BenchmarkConfig,
    way: Way,
    batch: PoseBatch,
    *,
    context: DistributedContext | None = None,
) -> Callable[..., int]:
    """Preprocessing, forward, targets, loss, backward and update of one batch.

    With a context of several ranks they exchange gradients, but in `step(exchange=False)`.
    """
    device = batch.crops.device
    model = _model(config, way, device)
    ddp = None if context is None else wrap_ddp(model, context)
    network = _called(ddp or model, way, device)
    encoder, loss = build_encoder(config.heatmap), build_loss(config.loss, model.level_names)
    criterion = PoseCriterion(model, encoder, loss)
    precision = Precision(way.precision, device)
    optimizer = optimizer_for(model, config.optimizer)

    def step(*, exchange: bool = True) -> int:
        model.train()
        with nullcontext() if exchange or ddp is None else ddp.no_sync():
            precision.backward(criterion(network, batch).total)  # type: ignore[arg-type]
        precision.step(optimizer)
        synchronise(device)
        return batch.num_samples

    return step


def forward_pass(config: BenchmarkConfig, way: Way, batch: PoseBatch) -> Callable[[], int]:
    """Preprocessing and the network in evaluation; but as published, with BatchNorm folded."""
    device = batch.crops.device
    model = _model(config, way, device, for_use=True).eval()
    network = _called(model, way, device)

    def forward() -> int:
        with torch.inference_mode():
            network(model.preprocess(batch.crops))
        synchronise(device)
        return batch.num_samples

    return forward


def synchronise(device: torch.device) -> None:
    """Waits for what the device still computes; nothing to wait for on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
