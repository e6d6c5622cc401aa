"""A tiny regression task: 16 noise pictures, a net with BatchNorm and dropout, a fixed order."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest
import torch
import torch._dynamo  # by the first optimizer, in a second: processes forked from here have it
from torch import Tensor, nn

from cpn.engine.distributed import DistributedContext
from cpn.engine.optim import build_optimizer, build_scheduler
from cpn.engine.seeding import seed_everything
from cpn.engine.settings import TrainerSettings
from cpn.engine.state_store import StateStore
from cpn.engine.task import Network, TrainingTask
from cpn.engine.tracking import NullTracker
from cpn.engine.trainer import Trainer


class TinyBatch(NamedTuple):
    images: Tensor
    targets: Tensor
    instance_ids: Tensor

    @property
    def num_samples(self) -> int:
        return len(self.images)

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Self:
        return type(self)(*(part.to(device, non_blocking=non_blocking) for part in self))


class TinyLoss(NamedTuple):
    total: Tensor
    parts: dict[str, Tensor]


def tiny_network(dropout: float) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Flatten(),
        nn.Linear(4 * 6 * 6, 2),
    )


@dataclass
class TinyLoader:
    """`rank`'s slice of every global batch; the order is a function of the epoch."""

    global_batch: int = 4
    rank: int = 0
    world_size: int = 1
    length: int = 16
    epoch: int = field(default=0, init=False)
    first_batch: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(5)
        self.images = torch.randn(self.length, 3, 6, 6, generator=generator)
        self.targets = torch.randn(self.length, 2, generator=generator)

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        self.epoch, self.first_batch = epoch, first_batch

    def __len__(self) -> int:
        return self.length // self.global_batch

    def __iter__(self) -> Iterator[TinyBatch]:
        order = torch.randperm(self.length, generator=torch.Generator().manual_seed(self.epoch))
        share = self.global_batch // self.world_size
        for start in range(0, len(self) * self.global_batch, self.global_batch)[self.first_batch :]:
            own = order[start + self.rank * share : start + (self.rank + 1) * share]
            yield TinyBatch(self.images[own], self.targets[own], own)


def tiny_loss(network: Network, batch: TinyBatch) -> TinyLoss:
    error = (network(batch.images) - batch.targets) ** 2
    x, y = error.mean(0)
    return TinyLoss(x + y, {"x": x.detach(), "y": y.detach()})


@dataclass
class RecordingTracker(NullTracker):
    """Remembers what a run logged, but for its speed."""

    lines: list[dict[str, Any]] = field(default_factory=list)

    def train(self, *, epoch: int, step: int, values: Mapping[str, float]) -> None:
        figures = {k: v for k, v in values.items() if k != "images_per_second"}
        self.lines.append({"kind": "train", "epoch": epoch, "step": step, **figures})

    def evaluation(self, *, epoch: int, step: int, metrics: Mapping[str, float]) -> None:
        self.lines.append({"kind": "eval", "epoch": epoch, "step": step, **metrics})


class TinyRun(NamedTuple):
    trainer: Trainer[TinyBatch]
    lines: list[dict[str, Any]]


def tiny_run(
    folder: Path,
    *,
    context: DistributedContext | None = None,
    global_batch: int = 4,
    length: int = 16,
    dropout: float = 0.0,
    hooks: dict[str, Any] | None = None,
    tracker: NullTracker | None = None,
    **settings: Any,
) -> TinyRun:
    """A trainer of the tiny task whose schedule always spans four epochs.

    With a tracker of its own it remembers no lines.
    """
    context = context or DistributedContext()
    seed_everything(3, rank=context.rank)
    loader = TinyLoader(global_batch, context.rank, context.world_size, length)
    network = tiny_network(dropout)
    optimizer = build_optimizer(network, name="adamw", lr=0.01, weight_decay=0.1)
    task = {"set_epoch": loader.set_epoch, "loss": tiny_loss} | (hooks or {})
    recorded = RecordingTracker()
    trainer = Trainer(
        network,
        TrainingTask(train_loader=loader, **task),
        optimizer=optimizer,
        scheduler=build_scheduler(optimizer, name="cosine", total_steps=16, warmup_steps=3),
        settings=TrainerSettings(**({"epochs": 1, "log_every": 1} | settings)),
        context=context,
        tracker=tracker or recorded,
        store=StateStore(folder),
    )
    return TinyRun(trainer, recorded.lines)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from threads, and lose much on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., TinyRun]:
    """`tiny_run`, by default in this test's own folder."""

    def make(folder: Path = tmp_path, **options: Any) -> TinyRun:
        return tiny_run(folder, **options)

    return make
