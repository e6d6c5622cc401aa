"""The training loop: `Trainer.fit` reads from top to bottom as the algorithm."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from cpn.engine.distributed import DistributedContext
from cpn.engine.ema import ModelEma
from cpn.engine.failpoints import at_step, failpoint, poisoned
from cpn.engine.inference import BatchT, SampleIds, evaluation_mode, sample_ids
from cpn.engine.late import LateReader, Numbers
from cpn.engine.meter import Meter
from cpn.engine.optim import LearningRateScheduler
from cpn.engine.parallel import prepare_module, set_training_mode, wrap_ddp
from cpn.engine.precision import Precision
from cpn.engine.prefetch import on_device
from cpn.engine.seeding import preserved_random_state
from cpn.engine.settings import TrainerSettings
from cpn.engine.state_store import StateStore
from cpn.engine.task import Evaluate, Network, TrainingTask
from cpn.engine.tracking import NullTracker
from cpn.engine.training_state import Progress, capture, restore
from cpn.errors import UserError
from cpn.process.interruption import EvaluationStopped, Interrupted

ItemT = TypeVar("ItemT")


class NonFiniteError(UserError):
    """The loss or its gradient is NaN or infinite on some rank; all ranks stop at the same step."""


class Trainer(Generic[BatchT]):
    """Trains a module; deterministic on a CPU, and exact across a stop at any step.

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
        store: StateStore,
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
        self.meter = Meter(context)
        self.log_position: int | None = None
        self._asked_to_stop = self._save_is_due = False
        self._saved_at = time.monotonic()
        self._late = LateReader(lag=1 if context.device.type == "cuda" else 0)

    @property
    def final_module(self) -> nn.Module:
        """The module that is evaluated and saved: the average of the weights where there is one."""
        return self.ema.module if self.ema else self.module

    def fit(self) -> Progress:
        """Train from the present progress to the last epoch.

        Raises:
            Interrupted: The task's `stop_requested` said so on some rank; the state is saved.
            NonFiniteError: The loss or its gradient is not finite.
            LostPeerError: Another rank died, or did not answer in time.
        """
        total_steps = self.settings.epochs * self.steps_per_epoch
        step, position = self.progress.step, self.log_position
        with (
            self.tracker.session(step=step, total_steps=total_steps, position=position),
            self.context.named_loss_of_peers(lambda: f"step {self.progress.step + 1}"),
        ):
            for epoch in range(self.progress.closed, self.settings.epochs):
                self._train_epoch(epoch)
                self._close_epoch(epoch)
        return self.progress

    def _train_epoch(self, epoch: int) -> None:
        first_step, end = epoch * self.steps_per_epoch, (epoch + 1) * self.steps_per_epoch
        if self.progress.epoch > epoch:
            return  # by an earlier process, which was stopped before it had evaluated
        self.task.set_epoch(epoch, (self.progress.step - first_step) * self.settings.accumulate)
        set_training_mode(self.module, freeze_batch_norm=self.settings.freeze_batch_norm)
        if self.progress.step == first_step:
            self.meter.restart()
        batches = on_device(self.task.train_loader, self.context.device)
        for micro_batches in in_groups(batches, self.settings.accumulate):
            self._train_step(epoch, micro_batches)
            if self.progress.step < end:
                self._keep_and_heed()
        self._late.settle()
        self.context.average_batch_norm(self.module)
        if self.ema:
            self.ema.copy_buffers(self.module)
        self.progress.epoch = epoch + 1
        self._keep_and_heed()

    def _close_epoch(self, epoch: int) -> None:
        try:
            metrics = self._evaluate(epoch)
        except EvaluationStopped as stopped:
            raise self._stopped() from stopped
        self.progress.closed = epoch + 1
        self._save(metrics)

    def _keep_and_heed(self) -> None:
        """Between two steps: stop if any rank is asked to, save the state if it is time to."""
        if self._asked_to_stop:
            raise self._stopped()
        every = self.settings.save_every_steps
        if self._save_is_due or (every is not None and self.progress.step % every == 0):
            self._late.settle()
            self._save_state()

    def _stopped(self) -> Interrupted:
        self._late.settle()
        path = self._save_state()
        return Interrupted(f"stopped as asked after step {self.progress.step}; its state is {path}")

    def _train_step(self, epoch: int, micro_batches: list[BatchT]) -> None:
        at_step(self.progress.step + 1)
        failpoint("before_step")
        self._late.next_step()
        self.scheduler.set_step(self.progress.step)
        values: dict[str, Tensor] = {}
        for number, batch in enumerate(micro_batches, start=1):
            is_last = number == len(micro_batches)
            loss = self._backward(batch, share=1 / len(micro_batches), synchronise=is_last)
            for name, value in loss.items():
                values[name] = values[name] + value if name in values else value
        values["grad_norm"] = self.precision.clip_gradients(self.optimizer, self.settings.clip_norm)
        self._vote(epoch, values, micro_batches)
        self.precision.step(self.optimizer)
        if self.ema:
            self.ema.update(self.module)
        self.progress.step += 1
        self.meter.add(values, num_images=sum(b.num_samples for b in micro_batches))
        self._log(epoch)

    def _backward(self, batch: BatchT, *, share: float, synchronise: bool) -> dict[str, Tensor]:
        """Add `share` of the batch's gradient; the last micro-batch synchronises the ranks."""
        with nullcontext() if synchronise or self._ddp is None else self._ddp.no_sync():
            loss = self.task.loss(self._network, batch)
            total = poisoned("loss", loss.total)
            self.precision.backward(total * share)
        values = {"loss": total, **loss.parts}
        return {name: value.detach() * share for name, value in values.items()}

    def _vote(self, epoch: int, values: Mapping[str, Tensor], micro_batches: list[BatchT]) -> None:
        """What one rank wants, all do at the same step: stop because of NaN, stop as asked, save.

        On a CPU NaN stops before the weights are touched; on a GPU, for which nobody waits here,
        when the next step is queued: always before anything is evaluated or saved.
        """
        sound = torch.isfinite(values["grad_norm"]) | self.precision.may_overflow()
        finite = torch.isfinite(values["loss"]) & sound
        wishes = torch.tensor([self.task.stop_requested(), self._is_time_to_save()])
        own = torch.cat([~finite.reshape(1), wishes.to(finite.device, non_blocking=True)])
        step = self.progress.step + 1
        ids = [named for batch in micro_batches if (named := sample_ids(batch))]

        def heed(wanted: Numbers) -> None:
            diverged, stop, save = wanted.tolist()
            if diverged:
                raise self._divergence(epoch, step, values, ids)
            self._asked_to_stop |= stop
            self._save_is_due |= save

        self._late.read(self.context.any(own), heed)

    def _is_time_to_save(self) -> bool:
        minutes = self.settings.save_every_minutes
        if minutes is None or not self.context.is_main:
            return False
        return time.monotonic() - self._saved_at >= 60 * minutes

    def _divergence(
        self, epoch: int, step: int, values: Mapping[str, Tensor], ids: Sequence[SampleIds]
    ) -> NonFiniteError:
        figures = ", ".join(f"{name}={float(value):.4g}" for name, value in values.items())
        numbers = [int(number) for named in ids for number in named.ids]
        whose = f", {ids[0].name} {numbers[:64]}" if numbers else ""
        return NonFiniteError(
            f"training diverged at epoch {epoch + 1}, step {step}: on rank "
            f"{self.context.rank} {figures}{whose}; "
            "lower optimizer.lr, set engine.clip_norm or use engine.precision=fp32"
        )

    def _log(self, epoch: int) -> None:
        step, rate = self.progress.step, self.scheduler.learning_rate
        self.tracker.advance()
        if step % self.settings.log_every == 0 or step % self.steps_per_epoch == 0:
            reading = self.meter.take()

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
                own = self._figures(self.task.evaluate, epoch)
                metrics = {k: float(v) for k, v in self.context.broadcast_object(own).items()}
                self.tracker.evaluation(epoch=epoch, step=self.progress.step, metrics=metrics)
            if self.task.on_epoch_end:
                self.task.on_epoch_end(self.final_module, epoch, self.progress.step)
        return metrics

    def _figures(self, evaluate: Evaluate, epoch: int) -> dict[str, float]:
        try:
            return dict(evaluate(self.final_module, epoch))
        except UserError as error:
            place = f"epoch {epoch + 1}, step {self.progress.step}"
            raise UserError(f"the evaluation after {place}: {error}") from error

    def _save(self, metrics: dict[str, float]) -> None:
        """Write the model, then the training state."""
        is_best = bool(metrics) and self._is_best(metrics)
        if self.context.is_main and self.task.save_model:
            failpoint("before_model")
            self.task.save_model(self.final_module, metrics, is_best)
        self._save_state()

    def _save_state(self) -> Path:
        """Write the training state; every rank returns when it is on the disk."""
        state = capture(self)
        path = self.store.path(self.progress.step)
        if self.context.is_main:
            self.store.save(self.progress.step, state)
        self.context.barrier()
        self._save_is_due, self._saved_at = False, time.monotonic()
        return path

    def _is_best(self, metrics: Mapping[str, float]) -> bool:
        key = self.settings.best_metric
        if key not in metrics:
            raise UserError(
                f"the best model is chosen by {key}, which is no figure of the evaluation; it has "
                f"{', '.join(metrics)}"
            )
        value = metrics[key]
        if not math.isfinite(value) or value <= self.progress.best_value:  # NaN is never best
            return False
        self.progress.best_value, self.progress.best_epoch = value, self.progress.epoch
        return True

    def restore(self) -> bool:
        """Continue from the newest whole training state; False if the run has none.

        Call it last before `fit`: it also restores the random states.

        Raises:
            UserError: All states are damaged, or were saved by a different model or optimizer.
        """
        found = self.store.load_newest()
        if found is None:
            return False
        path, state = found
        restore(self, state, source=path)
        return True


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
