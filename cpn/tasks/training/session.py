"""What every training does, whatever it is of: the run's folder, its end, the settings."""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from torch import nn
from torch.optim import Optimizer

from cpn.build import read_metrics
from cpn.config.schema import OptimizerConfig, ScheduleConfig, TrainingConfig
from cpn.data.lost_workers import named_loss_of_workers
from cpn.engine.distributed import DistributedContext, distributed_context
from cpn.engine.model_file import load_model_metadata
from cpn.engine.optim import LearningRateScheduler, build_optimizer, build_scheduler
from cpn.engine.seeding import seed_everything
from cpn.engine.settings import TrainerSettings
from cpn.engine.state_store import StateStore
from cpn.engine.task import TrainingTask
from cpn.engine.tracking import NullTracker, create_tracker
from cpn.engine.trainer import Trainer, steps_per_epoch
from cpn.engine.training_state import Progress
from cpn.models.backbone import Backbone
from cpn.tasks.training.run_directory import RunDirectory, make_run_directory, plan_run_directory
from cpn.tasks.training.run_status import RunStatus, held_run

logger = logging.getLogger(__name__)

Assemble = Callable[[RunDirectory, DistributedContext, NullTracker], Trainer[Any]]


def run_training(config: TrainingConfig, assemble: Assemble, *, next_step: str) -> dict[str, float]:
    """Trains, evaluates and saves one run, on one process or under torchrun.

    Args:
        config: of the training.
        assemble: builds all that can fail, and reads the data; random numbers are seeded before.
        next_step: the command that the best model is for, without its file.

    Returns:
        The metrics of the last evaluation.

    Raises:
        UserError: data, run directory, weights or settings cannot be used.
        Interrupted: the process was asked to stop; the run can be resumed.
    """
    engine = config.engine
    with distributed_context(engine.device, timeout_seconds=engine.timeout_seconds) as context:
        directory = plan_run_directory(config, context)
        seed_everything(config.seed, rank=context.rank)
        tracker = create_tracker(directory.path, is_main=context.is_main)
        trainer = assemble(directory, context, tracker)
        if context.is_main:
            logger.info("precision %s (%s)", trainer.precision.name, engine.precision)
        # Everything that can fail has been built: only now may an earlier run be deleted.
        with held_run(directory, context):
            make_run_directory(config, context)
            if directory.resume:
                tracker.message(f"resumed {directory.path} {_taken_up(trainer)}")
            status = RunStatus(directory.status, trainer.progress)
            with status.told() if context.is_main else nullcontext(), named_loss_of_workers():
                progress = trainer.fit()
        tracker.message(_done(directory, progress, next_step))
        return read_metrics(load_model_metadata(directory.last_model))


def _taken_up(trainer: Trainer[Any]) -> str:
    if not trainer.restore():
        return "from its beginning"
    return f"after step {trainer.progress.step} ({trainer.progress.epoch} epochs)"


def _done(directory: RunDirectory, progress: Progress, next_step: str) -> str:
    best, figure = directory.best_model, f"best AP {progress.best_value:.4f}"
    if progress.best_epoch is None:  # NaN at every evaluation
        best, figure = directory.last_model, "no AP"
    return f"done: {directory.path}, {progress.epoch} epochs, {figure}; {next_step}{best}"


def build_trainer(
    config: TrainingConfig,
    context: DistributedContext,
    *,
    model: nn.Module,
    task: TrainingTask[Any],
    directory: RunDirectory,
    tracker: NullTracker,
) -> Trainer[Any]:
    """The loop over a task, with the config's update rule, schedule and settings.

    Raises:
        UserError: settings that contradict each other, the device or the data.
    """
    optimizer = optimizer_for(model, config.optimizer)
    per_epoch = steps_per_epoch(task.train_loader, config.engine.accumulate)
    return Trainer(
        model,
        task,
        optimizer=optimizer,
        scheduler=scheduler_for(optimizer, config.schedule, per_epoch, config.engine.epochs),
        settings=settings_of(config),
        context=context,
        tracker=tracker,
        store=StateStore(directory.checkpoints),
    )


def optimizer_for(model: nn.Module, config: OptimizerConfig) -> Optimizer:
    """The update rule that a config describes, over a network's parameters."""
    return build_optimizer(
        model,
        name=config.name,
        lr=config.lr,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        lr_factors=_backbone_factors(model, config),
    )


def _backbone_factors(model: nn.Module, config: OptimizerConfig) -> dict[str, float]:
    """The backbone's rate, less from layer to layer towards its input (BEiT, 2021, section 3.1)."""
    backbone = model.get_submodule("backbone")
    assert isinstance(backbone, Backbone)
    return {
        f"backbone.{name}": config.backbone_lr_scale * config.layer_decay**layers
        for name, layers in backbone.layers_to_end().items()
    }


def scheduler_for(
    optimizer: Optimizer, config: ScheduleConfig, steps_per_epoch: int, epochs: int
) -> LearningRateScheduler:
    """The learning rates that a config describes, by optimizer step."""
    return build_scheduler(
        optimizer,
        name=config.name,
        total_steps=epochs * steps_per_epoch,
        warmup_steps=round(config.warmup_epochs * steps_per_epoch),
        warmup_ratio=config.warmup_ratio,
        milestones_steps=[epoch * steps_per_epoch for epoch in config.milestones],
        gamma=config.gamma,
        final_ratio=config.final_ratio,
    )


def settings_of(config: TrainingConfig) -> TrainerSettings:
    """How a config wants to be trained."""
    engine = config.engine
    return TrainerSettings(
        epochs=engine.epochs,
        accumulate=engine.accumulate,
        clip_norm=engine.clip_norm,
        precision=engine.precision,
        ema_decay=engine.ema_decay,
        channels_last=engine.channels_last,
        compile=engine.compile,
        sync_batch_norm=engine.sync_batch_norm,
        freeze_batch_norm=engine.freeze_batch_norm,
        log_every=engine.log_every,
        evaluate_every=engine.evaluate_every,
        save_every_steps=engine.save_every_steps,
        save_every_minutes=engine.save_every_minutes,
    )
