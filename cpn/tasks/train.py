"""Trains a CPN: the composition of everything below; the loop is `cpn.engine.trainer`."""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial

from torch import nn
from torch.optim import Optimizer

from cpn.build import (
    PoseCriterion,
    build_encoder,
    build_loss,
    build_model,
    read_metrics,
    save_model,
)
from cpn.config.schema import OptimizerConfig, ScheduleConfig, TrainConfig
from cpn.data.annotations import PersonAnnotations
from cpn.data.lost_workers import named_loss_of_workers
from cpn.data.sample import PoseBatch
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
from cpn.interruption import STOP
from cpn.models.cpn import CascadedPyramidNetwork
from cpn.models.statistics import model_statistics
from cpn.tasks.datasets import read_split, skipped_photos, training_batches
from cpn.tasks.epoch_evaluation import EpochEvaluation
from cpn.tasks.pictures import PictureLogger
from cpn.tasks.quick_check import check_quickly
from cpn.tasks.run_directory import (
    RunDirectory,
    decided_by_main,
    make_run_directory,
    plan_run_directory,
)
from cpn.tasks.run_status import RunStatus, held_run

logger = logging.getLogger(__name__)


def train(config: TrainConfig) -> dict[str, float]:
    """Trains, evaluates and saves one run, on one process or under torchrun.

    Returns:
        The metrics of the last evaluation.

    Raises:
        UserError: data, run directory, weights or settings cannot be used.
        Interrupted: the process was asked to stop; the run can be resumed.
    """
    engine = config.engine
    with distributed_context(engine.device, timeout_seconds=engine.timeout_seconds) as context:
        return _train(config, context)


def _train(config: TrainConfig, context: DistributedContext) -> dict[str, float]:
    directory = plan_run_directory(config, context)
    people = read_split(config.data, config.data.train, for_training=True)
    seed_everything(config.seed, rank=context.rank)
    model = build_model(config, num_keypoints=people.skeleton.num_keypoints).to(context.device)
    if context.is_main:
        _describe(config, model, people)
    tracker = create_tracker(directory.path, is_main=context.is_main)
    trainer = _build_trainer(config, context, directory, model, people, tracker)
    if context.is_main:
        logger.info("precision %s (%s)", trainer.precision.name, config.engine.precision)
    # Everything that can fail has been built: only now may an earlier run be deleted.
    with held_run(directory, context):
        make_run_directory(config, context)
        if directory.resume:
            found = (
                f"after {_place(trainer.progress)}" if trainer.restore() else "from its beginning"
            )
            tracker.message(f"resumed {directory.path} {found}")
        status = RunStatus(directory.status, trainer.progress)
        with status.told() if context.is_main else nullcontext(), named_loss_of_workers():
            progress = trainer.fit()
    tracker.message(_done(directory, progress))
    return read_metrics(load_model_metadata(directory.last_model))


def _place(progress: Progress) -> str:
    return f"step {progress.step} ({progress.epoch} epochs)"


def _done(directory: RunDirectory, progress: Progress) -> str:
    best, figure = directory.best_model, f"best AP {progress.best_value:.4f}"
    if progress.best_epoch is None:  # NaN at every evaluation
        best, figure = directory.last_model, "no AP"
    return (
        f"done: {directory.path}, {progress.epoch} epochs, {figure}; "
        f"evaluate with python scripts/evaluate.py checkpoint={best}"
    )


def _build_trainer(
    config: TrainConfig,
    context: DistributedContext,
    directory: RunDirectory,
    model: CascadedPyramidNetwork,
    people: PersonAnnotations,
    tracker: NullTracker,
) -> Trainer[PoseBatch]:
    skipped = skipped_photos(people, config)
    loader = training_batches(people, config, context, skipped=skipped)

    def set_epoch(epoch: int, first_batch: int) -> None:
        if skipped is not None:
            skipped.exchange(context.all_gather_object)
        loader.set_epoch(epoch, first_batch)

    criterion = PoseCriterion(
        model, build_encoder(config.heatmap), build_loss(config.loss, model.level_names)
    )
    evaluation = EpochEvaluation.from_config(config, context, skeleton=people.skeleton)
    decided_by_main(
        partial(check_quickly, config, people, evaluation.people.scorer.people), context
    )
    task = TrainingTask(
        train_loader=loader,
        set_epoch=set_epoch,
        loss=criterion,
        evaluate=evaluation,
        save_model=partial(_save_model, config, directory, people),
        on_epoch_end=PictureLogger(evaluation, tracker, context.is_main),
        stop_requested=STOP.is_made,
    )
    optimizer = optimizer_for(model, config.optimizer)
    per_epoch = steps_per_epoch(loader, config.engine.accumulate)
    return Trainer(
        model,
        task,
        optimizer=optimizer,
        scheduler=_scheduler(optimizer, config.schedule, per_epoch, config.engine.epochs),
        settings=_settings(config),
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
        backbone_lr_scale=config.backbone_lr_scale,
    )


def _scheduler(
    optimizer: Optimizer, config: ScheduleConfig, steps_per_epoch: int, epochs: int
) -> LearningRateScheduler:
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


def _settings(config: TrainConfig) -> TrainerSettings:
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


def _save_model(
    config: TrainConfig,
    directory: RunDirectory,
    people: PersonAnnotations,
    module: nn.Module,
    metrics: Mapping[str, float],
    is_best: bool,
) -> None:
    assert isinstance(module, CascadedPyramidNetwork)
    for path in [directory.last_model, *([directory.best_model] if is_best else [])]:
        save_model(path, module, config=config, skeleton=people.skeleton, metrics=dict(metrics))


def _describe(
    config: TrainConfig, model: CascadedPyramidNetwork, people: PersonAnnotations
) -> None:
    """What is trained on what, before the first step."""
    size = config.input.size_hw
    logger.info("%s", model_statistics(model, size).summary())
    logger.info(
        "train: %d people from %s; %d keypoints, OKS sigmas %s",
        len(people.instances),
        people.path,
        people.skeleton.num_keypoints,
        list(people.skeleton.sigmas),
    )
