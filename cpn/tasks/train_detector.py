"""Trains a person detector: the same loop as for poses, on whole photos."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cpn.build_detector import build_detector, save_detector
from cpn.config.detection_schema import TrainDetectorConfig
from cpn.data.annotated_photos import AnnotatedPhotos
from cpn.data.photo_batches import PhotoBatch
from cpn.detection.detector import Detector
from cpn.engine.distributed import DistributedContext
from cpn.engine.task import TrainingTask
from cpn.engine.tracking import NullTracker
from cpn.engine.trainer import Trainer
from cpn.process.interruption import STOP
from cpn.tasks.data.detection_data import (
    read_training_photos,
    read_validation_photos,
    training_photo_batches,
)
from cpn.tasks.evaluation.detection_evaluation import EpochDetection
from cpn.tasks.training.run_directory import RunDirectory
from cpn.tasks.training.session import build_trainer, run_training

logger = logging.getLogger(__name__)


class DetectionLoss(NamedTuple):
    """The sum of a detector's losses, and each of them."""

    total: Tensor
    parts: dict[str, Tensor]


def detection_loss(network: Callable[..., Any], batch: PhotoBatch) -> DetectionLoss:
    """One training step's forward pass; `network` is the detector as the engine wraps it."""
    losses: dict[str, Tensor] = network(batch.images(), batch.targets())
    total = torch.stack(list(losses.values())).sum()
    return DetectionLoss(
        total, {name.removeprefix("loss_"): v.detach() for name, v in losses.items()}
    )


def train_detector(config: TrainDetectorConfig) -> dict[str, float]:
    """Trains a detector; see `run_training`."""
    next_step = "find people with python scripts/detect.py checkpoint="
    return run_training(config, partial(_assemble, config), next_step=next_step)


def _assemble(
    config: TrainDetectorConfig,
    directory: RunDirectory,
    context: DistributedContext,
    tracker: NullTracker,
) -> Trainer[PhotoBatch]:
    photos, validation = read_training_photos(config), read_validation_photos(config)
    model = build_detector(config.backbone, config.detector).to(context.device)
    if context.is_main:
        _describe(config, model, photos)
    loader = training_photo_batches(photos, config, context)
    task = TrainingTask(
        train_loader=loader,
        set_epoch=loader.set_epoch,
        loss=detection_loss,
        evaluate=EpochDetection.create(validation, config, context),
        save_model=partial(_save_model, config, directory),
        stop_requested=STOP.is_made,
    )
    return build_trainer(
        config, context, model=model, task=task, directory=directory, tracker=tracker
    )


def _save_model(
    config: TrainDetectorConfig,
    directory: RunDirectory,
    module: nn.Module,
    metrics: Mapping[str, float],
    is_best: bool,
) -> None:
    assert isinstance(module, Detector)
    for path in [directory.last_model, *([directory.best_model] if is_best else [])]:
        save_detector(path, module, config=config, metrics=dict(metrics))


def _describe(config: TrainDetectorConfig, model: Detector, photos: AnnotatedPhotos) -> None:
    """What is trained on what, before the first step."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    logger.info(
        "%s on %s, levels %s: %.2f M parameters",
        config.detector.kind,
        config.backbone.name,
        list(model.pyramid.levels),
        parameters / 1e6,
    )
    logger.info(
        "train: %d photos with %d people from %s",
        len(photos),
        len(photos.boxes_xyxy),
        photos.source,
    )
