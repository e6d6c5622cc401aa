"""Trains a CPN: the composition of everything below; the loop is `cpn.engine.trainer`."""

import logging
from collections.abc import Mapping
from functools import partial

from torch import nn

from cpn.build import save_model
from cpn.config.schema import TrainConfig
from cpn.data.annotations import PersonAnnotations
from cpn.data.sample import PoseBatch
from cpn.engine.distributed import DistributedContext
from cpn.engine.task import TrainingTask
from cpn.engine.tracking import NullTracker
from cpn.engine.trainer import Trainer
from cpn.models.cpn import CascadedPyramidNetwork
from cpn.models.statistics import model_statistics
from cpn.process.interruption import STOP
from cpn.tasks.data.datasets import read_split, skipped_photos, training_batches
from cpn.tasks.data.mixed_people import with_mixed_people
from cpn.tasks.data.quick_check import check_quickly
from cpn.tasks.evaluation.epoch_evaluation import EpochEvaluation
from cpn.tasks.training.criterion import build_criterion
from cpn.tasks.training.pictures import PictureLogger
from cpn.tasks.training.run_directory import RunDirectory, decided_by_main
from cpn.tasks.training.session import build_trainer, run_training
from cpn.tasks.training.starting_model import starting_model

logger = logging.getLogger(__name__)


def train(config: TrainConfig) -> dict[str, float]:
    """Trains a CPN; see `run_training`."""
    next_step = "evaluate with python scripts/evaluate.py checkpoint="
    return run_training(config, partial(_assemble, config), next_step=next_step)


def _assemble(
    config: TrainConfig,
    directory: RunDirectory,
    context: DistributedContext,
    tracker: NullTracker,
) -> Trainer[PoseBatch]:
    people = read_split(config.data, config.data.train, for_training=True)
    model = starting_model(config, people.skeleton, tell=context.is_main).to(context.device)
    if context.is_main:
        _describe(config, model, people)
    skipped = skipped_photos(people, config)
    mixed = with_mixed_people(people, config.data, tell=context.is_main)
    loader = training_batches(mixed.people, config, context, skipped=skipped, parts=mixed.parts)

    def set_epoch(epoch: int, first_batch: int) -> None:
        if skipped is not None:
            skipped.exchange(context.all_gather_object)
        loader.set_epoch(epoch, first_batch)

    criterion = build_criterion(
        config, model, people.skeleton, context.device, tell=context.is_main
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
    return build_trainer(
        config, context, model=model, task=task, directory=directory, tracker=tracker
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
