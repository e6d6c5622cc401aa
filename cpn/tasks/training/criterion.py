"""What a pose network learns: the annotations' heatmaps, and perhaps a teacher's."""

import logging
from pathlib import Path

import torch

from cpn.build import (
    LoadedModel,
    PoseCriterion,
    build_encoder,
    build_loss,
    load_model_with_metadata,
)
from cpn.config.schema import TrainConfig
from cpn.distillation import Mimicry
from cpn.engine.precision import Precision
from cpn.errors import UserError
from cpn.models.cpn import CascadedPyramidNetwork
from cpn.models.folding import folded
from cpn.skeleton import Skeleton

logger = logging.getLogger(__name__)


def build_criterion(
    config: TrainConfig,
    model: CascadedPyramidNetwork,
    skeleton: Skeleton,
    device: torch.device,
    *,
    tell: bool = True,
) -> PoseCriterion:
    """The loss of one training step, forward pass included.

    Args:
        config: of the training.
        model: the student.
        skeleton: of the people to train on.
        device: that trains.
        tell: whether to log the teacher; on one rank.

    Raises:
        FileNotFoundError: there is no such teacher.
        UserError: the teacher's file cannot be read, or its heatmaps are none to learn from.
    """
    loss = build_loss(config.loss, model.level_names)
    encoder = build_encoder(config.heatmap)
    if config.distill.teacher is None:
        return PoseCriterion(model, encoder, loss)
    path = Path(config.distill.teacher)
    loaded = load_model_with_metadata(path)
    _check_teacher(config, model, skeleton, loaded)
    if tell:
        _describe(config, loaded)
    teacher = folded(loaded.model, config.input.size_hw).to(device)
    teacher = teacher.to(memory_format=torch.channels_last).requires_grad_(requires_grad=False)
    called = Precision(config.engine.precision, device).autocast_calls(teacher)
    mimicry = Mimicry(teacher, called, loss, model.level_names, weight=config.distill.weight)
    return PoseCriterion(model, encoder, loss, mimicry)


def _check_teacher(
    config: TrainConfig, model: CascadedPyramidNetwork, skeleton: Skeleton, loaded: LoadedModel
) -> None:
    """Makes sure that its heatmaps mean what the student's do."""
    theirs = loaded.config
    for what, given, wanted in (
        ("keypoints", list(loaded.skeleton.keypoint_names), list(skeleton.keypoint_names)),
        ("heatmap.family", theirs.heatmap.family, config.heatmap.family),
        ("model.heatmap_stride", loaded.model.heatmap_stride, model.heatmap_stride),
        ("model.global_net.supervision", theirs.model.global_net.supervision, "upsampled"),
    ):
        if given != wanted:
            raise UserError(
                f"distill.teacher={config.distill.teacher}: its {what} are {given}, the student's"
                f" {wanted}; take a teacher of the same, or distill.teacher=null"
            )


def _describe(config: TrainConfig, loaded: LoadedModel) -> None:
    height, width = loaded.config.input.size_hw
    logger.info(
        "distill: %g of the loss is the distance to %s (%s, %dx%d, AP %.4f)",
        *(config.distill.weight, config.distill.teacher, loaded.config.backbone.name),
        *(height, width, loaded.metrics.get("AP", float("nan"))),
    )
