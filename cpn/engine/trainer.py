"""The training loop: `Trainer.fit` reads from top to bottom as the algorithm."""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from cpn.engine.checkpoint import CheckpointStore
from cpn.engine.distributed import DistributedContext
from cpn.engine.ema import ModelEma
from cpn.engine.inference import BatchT, evaluation_mode
from cpn.engine.late import LateReader, Numbers
from cpn.engine.meter import Meter
from cpn.engine.optim import LearningRateScheduler
from cpn.engine.parallel import prepare_module, set_training_mode, wrap_ddp
from cpn.engine.precision import Precision
from cpn.engine.prefetch import on_device
from cpn.engine.seeding import preserved_random_state, random_state, restore_random_state
from cpn.engine.settings import TrainerSettings
from cpn.engine.task import Network, TrainingTask
from cpn.engine.tracking import NullTracker
from cpn.errors import UserError
from cpn.state_dict import load_weights

logger = logging.getLogger(__name__)

ItemT = TypeVar("ItemT")


class NonFiniteError(UserError):
    """The loss or its gradient is NaN or infinite on some rank; all ranks stop at the same step."""


@dataclass
class Progress:
    """How far a run has come: finished epochs, optimizer steps, the best evaluation so far."""

    epoch: int = 0
    step: int = 0
    best_value: float = -math.inf
    best_epoch: int | None = None


class Trainer(Generic[BatchT]):
    """Trains a module; deterministic on a CPU, and exact across a stop at an epoch's end.

    Args:
        module: The plain module, already on `context.device`.
        task: Batches, loss, evaluation, saving.
        optimizer: Over the module's parameters.
        scheduler: Of that optimizer.
        settings: How to train.
        context: This rank's place.
        tracker: From `create_tracker`.
        store: Where training states are kept.

    Raises:
        UserError: settings that this device or the loader cannot serve.
    """

    def __init__(
        self,
        module: nn.Module,
        task: TrainingTask[BatchT],
        *,
        optimizer: Optimizer,
        scheduler: LearningRateScheduler,
        settings: TrainerSettings,
        context: DistributedContext,
        tracker: NullTracker,
        store: CheckpointStore,
    ) -> None:
        self.task = task
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.settings = settings
        self.context = context
        self.tracker = tracker
        self.store = store
        self.progress = Progress()
        self.steps_per_epoch = steps_per_epoch(task.train_loader, settings.accumulate)
        self.precision = Precision(settings.precision, context.device)
        self.module = prepare_module(module, settings, context)
        self._ddp = wrap_ddp(self.module, context)
        network: Network = self._ddp or self.module
        self._network = self.precision.autocast_calls(
            torch.compile(network) if settings.compile else network
        )
        # after DDP, which gives every rank the weights of rank 0
        self.ema = None if settings.ema_decay is None else ModelEma(self.module, settings.ema_decay)
        self._meter = Meter(context)
        self._late = LateReader(lag=1 if context.device.type == "cuda" else 0)

    @property
    def final_module(self) -> nn.Module:
        """The module that is evaluated and saved: the average of the weights where there is one."""
        return self.ema.module if self.ema else self.module

    def fit(self) -> Progress:
        """Train from the present progress to the last epoch."""
        total_steps = self.settings.epochs * self.steps_per_epoch
        with self.tracker.session(step=self.progress.step, total_steps=total_steps):
            for epoch in range(self.progress.epoch, self.settings.epochs):
                self._train_epoch(epoch)
                self._save(self._evaluate(epoch))
        return self.progress

    def _train_epoch(self, epoch: int) -> None:
        self.task.set_epoch(epoch)
        set_training_mode(self.module, freeze_batch_norm=self.settings.freeze_batch_norm)
        self._meter.restart()
        batches = on_device(self.task.train_loader, self.context.device)
        for micro_batches in in_groups(batches, self.settings.accumulate):
            self._train_step(epoch, micro_batches)
        self._late.settle()
        self.context.average_batch_norm(self.module)
        if self.ema:
            self.ema.copy_buffers(self.module)
        self.progress.epoch = epoch + 1

    def _train_step(self, epoch: int, micro_batches: list[BatchT]) -> None:
        self._late.next_step()
        self.scheduler.set_step(self.progress.step)
        values: dict[str, Tensor] = {}
        for number, batch in enumerate(micro_batches, start=1):
            is_last = number == len(micro_batches)
            loss = self._backward(batch, share=1 / len(micro_batches), synchronise=is_last)
            for name, value in loss.items():
                values[name] = values[name] + value if name in values else value
        values["grad_norm"] = self.precision.clip_gradients(self.optimizer, self.settings.clip_norm)
        self._require_finite(epoch, values, micro_batches)
        self.precision.step(self.optimizer)
        if self.ema:
            self.ema.update(self.module)
        self.progress.step += 1
        self._meter.add(values, num_images=sum(b.num_samples for b in micro_batches))
        self._log(epoch)

    def _backward(self, batch: BatchT, *, share: float, synchronise: bool) -> dict[str, Tensor]:
        """Add `share` of the batch's gradient; the last micro-batch synchronises the ranks."""
        with nullcontext() if synchronise or self._ddp is None else self._ddp.no_sync():
            loss = self.task.loss(self._network, batch)
            self.precision.backward(loss.total * share)
        values = {"loss": loss.total, **loss.parts}
        return {name: value.detach() * share for name, value in values.items()}

    def _require_finite(
        self, epoch: int, values: Mapping[str, Tensor], micro_batches: list[BatchT]
    ) -> None:
        """Stop every rank, if any has a loss or gradient of NaN.

        On a CPU before the weights are touched; on a GPU, for which nobody waits here, when the
        next step is queued: always before anything is evaluated or saved.
        """
        finite = torch.isfinite(values["loss"])
        if not self.precision.may_overflow:
            finite = finite & torch.isfinite(values["grad_norm"])
        step = self.progress.step + 1
        ids = [b.instance_ids for b in micro_batches if hasattr(b, "instance_ids")]

        def stop_if_any(diverged: Numbers) -> None:
            if diverged:
                raise self._divergence(epoch, step, values, ids)

        self._late.read(self.context.any(~finite), stop_if_any)

    def _divergence(
        self, epoch: int, step: int, values: Mapping[str, Tensor], ids: Sequence[Tensor]
    ) -> NonFiniteError:
        figures = ", ".join(f"{name}={float(value):.4g}" for name, value in values.items())
        numbers = [int(number) for tensor in ids for number in tensor]
        return NonFiniteError(
            f"training diverged at epoch {epoch + 1}, step {step}: on rank "
            f"{self.context.rank} {figures}{f', instance ids {numbers[:64]}' if numbers else ''}; "
            "lower optimizer.lr, set engine.clip_norm or use engine.precision=fp32"
        )

    def _log(self, epoch: int) -> None:
        step, rate = self.progress.step, self.scheduler.learning_rate
        self.tracker.advance()
        if step % self.settings.log_every == 0 or step % self.steps_per_epoch == 0:
            reading = self._meter.take()

            def write(means: Numbers) -> None:
                values = {**reading.figures(means), "lr": rate}
                self.tracker.train(epoch=epoch, step=step, values=values)

            self._late.read(reading.means, write)

    def _evaluate(self, epoch: int) -> dict[str, float]:
        """Evaluate and draw; training's random draws are the same with and without it."""
        metrics: dict[str, float] = {}
        last = epoch + 1 == self.settings.epochs
        with preserved_random_state(), evaluation_mode(self.final_module):
            if self.task.evaluate and (last or (epoch + 1) % self.settings.evaluate_every == 0):
                own = self.task.evaluate(self.final_module, epoch)
                metrics = {k: float(v) for k, v in self.context.broadcast_object(dict(own)).items()}
                self.tracker.evaluation(epoch=epoch, step=self.progress.step, metrics=metrics)
            if self.task.on_epoch_end:
                self.task.on_epoch_end(self.final_module, epoch, self.progress.step)
        return metrics

    def _save(self, metrics: dict[str, float]) -> None:
        """Write the model, then the training state."""
        is_best = bool(metrics) and self._is_best(metrics)
        state = self.state_dict()
        if self.context.is_main:
            if self.task.save_model:
                self.task.save_model(self.final_module, metrics, is_best)
            self.store.save(self.progress.epoch, state)
        self.context.barrier()

    def _is_best(self, metrics: Mapping[str, float]) -> bool:
        key = self.settings.best_metric
        if key not in metrics:
            raise UserError(
                f"the best model is chosen by {key}, which is no figure of the evaluation; it has "
                f"{', '.join(metrics)}"
            )
        if not metrics[key] > self.progress.best_value:  # NaN is never best
            return False
        self.progress.best_value, self.progress.best_epoch = metrics[key], self.progress.epoch
        return True

    def state_dict(self) -> dict[str, Any]:
        """Everything the next step depends on, in plain types; to be called on every rank."""
        return {
            "progress": asdict(self.progress),
            "module": dict(self.module.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "precision": self.precision.state_dict(),
            "precision_name": self.precision.name,
            "random": self.context.all_gather_object(random_state()),
        }

    def restore(self) -> bool:
        """Continue from the newest training state; False if the store has none.

        Call it last before `fit`: it also restores the random states.

        Raises:
            UserError: the state cannot be read or was saved by a different model or optimizer.
        """
        path = self.store.latest()
        if path is None:
            return False
        state = self.store.load(path)
        load_weights(self.module, state["module"], source=path)
        if (self.ema is None) != (state["ema"] is None):
            saved = "without" if state["ema"] is None else "with"
            raise UserError(
                f"{path} was saved {saved} an average of the weights, and engine.ema_decay="
                f"{self.settings.ema_decay}; resume with the setting it was saved with"
            )
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        try:
            self.optimizer.load_state_dict(state["optimizer"])
        except ValueError as error:
            raise UserError(f"the optimizer of {path} is a different one: {error}") from error
        self.precision.load_state_dict(state["precision"])
        self._compare_precision(state.get("precision_name"))
        self.progress = Progress(**state["progress"])
        self._restore_random(state["random"])
        return True

    def _compare_precision(self, saved: str | None) -> None:
        """Tells of another precision than before; None is a state that does not know its own."""
        if saved not in (None, self.precision.name):
            logger.warning(
                "resumed with precision %s what ran with %s: the result is another than without "
                "the interruption; resume on a device like the one before to avoid it",
                self.precision.name,
                saved,
            )

    def _restore_random(self, states: list[dict[str, Any]]) -> None:
        if len(states) == self.context.world_size:
            restore_random_state(states[self.context.rank])
        else:
            logger.warning(
                "resumed on %d ranks what ran on %d: dropout masks are drawn anew",
                self.context.world_size,
                len(states),
            )


def steps_per_epoch(loader: Sized, accumulate: int) -> int:
    """Optimizer steps of one epoch; a last incomplete group of micro-batches steps too.

    Raises:
        UserError: the loader is empty.
    """
    if len(loader) == 0:
        raise UserError(
            "the training loader gives no batch: there are fewer instances than one global batch; "
            "use a smaller batch or more data"
        )
    return math.ceil(len(loader) / accumulate)


def in_groups(items: Iterable[ItemT], size: int) -> Iterator[list[ItemT]]:
    """Lists of `size` consecutive items; the last may be shorter."""
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group
