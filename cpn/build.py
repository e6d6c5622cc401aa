"""From configuration to objects: the only place below `cpn.tasks` that reads a config."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cpn.config.network_schema import (
    BackboneConfig,
    HeatmapConfig,
    LossConfig,
    ModelConfig,
    PyramidConfig,
)
from cpn.config.schema import TrainConfig
from cpn.config.validation import ConfigError, validate_plain
from cpn.data.photometrics import apply_photometrics
from cpn.data.sample import PoseBatch
from cpn.distillation import Mimicry
from cpn.engine.model_file import load_model_file, save_model_file
from cpn.errors import UserError, first_line
from cpn.heatmaps.encode import HeatmapEncoder, heatmap_peak
from cpn.losses import CpnLoss, LossParts
from cpn.models.backbone import Backbone, check_input, create_backbone
from cpn.models.cpn import CascadedPyramidNetwork, CpnOutput
from cpn.models.global_net import GlobalNet
from cpn.models.layers import Norm
from cpn.models.pyramid import FeaturePyramid, PyramidDesign
from cpn.models.refine_net import RefineNet
from cpn.skeleton import Skeleton
from cpn.weights.state_dict import check_weights, load_weights

# Standard deviation of a heatmap's cells over its peak: a Gaussian of sigma 1.5 to 2 cells in a
# map of 64 x 48 to 32 x 24 has 0.05 to 0.13.
TARGET_DEVIATION = 0.1


def build_model(
    config: TrainConfig, *, num_keypoints: int, weights: str | None = None
) -> CascadedPyramidNetwork:
    """The network that a config describes.

    Args:
        config: its `backbone` and `model` groups are read.
        num_keypoints: K.
        weights: overrides `backbone.weights` ("none" when a checkpoint follows anyway).

    Raises:
        UserError: pretrained weights cannot be had, or the parts do not fit each other.
    """
    try:
        return _build_model(config, num_keypoints, weights or config.backbone.weights)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"backbone, model: {error}") from error


def _build_model(config: TrainConfig, num_keypoints: int, weights: str) -> CascadedPyramidNetwork:
    settings = config.model
    backbone = build_backbone(config.backbone, settings.pyramid, weights=weights)
    if ":" in config.backbone.name:
        check_input(backbone, config.backbone.name, config.input.size_hw)
    pyramid = build_pyramid(
        settings.pyramid, backbone, norm=settings.norm, align_corners=settings.align_corners
    )
    global_net = GlobalNet(
        pyramid.strides,
        pyramid.channels,
        num_keypoints,
        supervision=settings.global_net.supervision,
        heatmap_stride=settings.heatmap_stride,
        output_norm=settings.output_norm,
        norm=settings.norm,
        align_corners=settings.align_corners,
    )
    refine_net = _build_refine_net(settings, pyramid, num_keypoints)
    model = CascadedPyramidNetwork(backbone, pyramid, global_net, refine_net)
    model.initialise_output_scale(TARGET_DEVIATION * heatmap_peak(config.heatmap.family))
    return model


def build_backbone(config: BackboneConfig, pyramid: PyramidConfig, *, weights: str) -> Backbone:
    """The backbone with the levels that a pyramid takes.

    Args:
        config: what it is; its `weights` are not read.
        pyramid: its `levels` are read.
        weights: "none", "imagenet" or a file.

    Raises:
        UserError: see `create_backbone`.
    """
    return create_backbone(
        config.name,
        weights=weights,
        width=config.width,
        frozen_stages=config.frozen_stages,
        drop_path=config.drop_path,
        levels=pyramid.levels,
    )


def build_pyramid(
    config: PyramidConfig, backbone: Backbone, *, norm: Norm, align_corners: bool
) -> FeaturePyramid:
    """The pyramid on a backbone.

    Raises:
        ValueError: see `FeaturePyramid`.
    """
    return FeaturePyramid(
        backbone.channels,
        backbone.strides,
        levels=config.levels,
        channels=config.channels,
        design=PyramidDesign(
            upsample=config.upsample,
            align_corners=align_corners,
            top_down=config.top_down,
            top_down_conv=config.top_down_conv,
            smoothing=config.smoothing,
            lateral_activation=config.lateral_activation,
            norm=norm,
        ),
        extra=config.extra,
        num_extra=config.num_extra,
        extra_from=config.extra_from,
    )


def _build_refine_net(
    settings: ModelConfig, pyramid: FeaturePyramid, num_keypoints: int
) -> RefineNet | None:
    refine = settings.refine
    if not refine.enabled:
        return None
    levels = tuple(refine.levels or settings.pyramid.all_levels)
    counts = refine.bottlenecks.model_dump()
    return RefineNet(
        {level: counts[f"p{level}"] for level in levels},
        pyramid.channels,
        num_keypoints,
        heatmap_stride=settings.heatmap_stride,
        projection=refine.projection,
        output_norm=settings.output_norm,
        norm=settings.norm,
        align_corners=settings.align_corners,
    )


def build_encoder(config: HeatmapConfig) -> HeatmapEncoder:
    """The training targets' family and widths."""
    return HeatmapEncoder(family=config.family, widths=config.widths.model_dump())


def build_loss(config: LossConfig, level_names: tuple[str, ...]) -> CpnLoss:
    """The loss for these GlobalNet levels, coarse to fine."""
    return CpnLoss(
        level_names,
        global_weight=config.global_weight,
        refine_weight=config.refine_weight,
        global_joints=config.global_joints,
        refine_joints=config.refine_joints,
        uncounted=config.uncounted,
        global_top_m=config.global_top_m,
        refine_top_m=config.refine_top_m,
    )


class PoseCriterion:
    """One training step's forward pass: crops -> heatmaps -> loss parts.

    Colours are changed and targets made on the batch's device, these at the size of each heatmap
    that the network gives. `mimicry` adds the distance to a teacher's heatmaps.
    """

    def __init__(
        self,
        model: CascadedPyramidNetwork,
        encoder: HeatmapEncoder,
        loss: CpnLoss,
        mimicry: Mimicry | None = None,
    ) -> None:
        self._model = model
        self._encoder = encoder
        self._loss = loss
        self._mimicry = mimicry

    def __call__(self, network: Callable[[Tensor], CpnOutput], batch: PoseBatch) -> LossParts:
        """`network` is the model as the engine wraps it (DDP, autocast, compiled)."""
        crops = apply_photometrics(batch.crops, batch.colours, batch.holes)
        output = network(self._model.preprocess(crops))
        input_hw = tuple(batch.crops.shape[-2:])
        drawn = batch.visibility > 0

        def target(level: str, heatmaps: Tensor) -> Tensor:
            size_hw = (heatmaps.shape[-2], heatmaps.shape[-1])
            stride = (input_hw[0] / size_hw[0], input_hw[1] / size_hw[1])
            return self._encoder.target(
                batch.points, drawn, level=level, size_hw=size_hw, stride=stride
            )

        levels = zip(self._model.level_names, output.global_heatmaps, strict=True)
        refined = output.refined_heatmaps
        parts: LossParts = self._loss(
            [heatmaps.float() for heatmaps in output.global_heatmaps],
            None if refined is None else refined.float(),
            [target(level, heatmaps) for level, heatmaps in levels],
            None if refined is None else target("refined", refined),
            batch.visibility,
        )
        return parts if self._mimicry is None else self._mimicry(crops, output, parts)


@dataclass(frozen=True)
class LoadedModel:
    """What a model file holds."""

    model: CascadedPyramidNetwork
    config: TrainConfig
    skeleton: Skeleton
    metrics: dict[str, float]


def save_model(
    path: Path,
    model: CascadedPyramidNetwork,
    *,
    config: TrainConfig,
    skeleton: Skeleton,
    metrics: dict[str, float],
) -> None:
    """Writes weights with config, skeleton and metrics in the header (safetensors, atomic)."""
    metadata = {
        "config": config.model_dump(mode="json"),
        "skeleton": skeleton.to_dict(),
        "metrics": metrics,
    }
    save_model_file(path, model.state_dict(), metadata)


def load_model_with_metadata(path: Path) -> LoadedModel:
    """Reads a model file and builds its network, in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is not one of ours, is damaged, or its config is of another version.
    """
    state, metadata = load_model_file(path)
    try:
        config = validate_plain(metadata["config"], TrainConfig)
        skeleton = Skeleton.from_dict(metadata["skeleton"])
        metrics = read_metrics(metadata)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        reason = metadata_reason(error)
        raise UserError(
            f"{path}: its config, skeleton or metrics cannot be used ({reason}); was it written by "
            "another version of cpn? Use a model.safetensors that scripts/train.py wrote"
        ) from error
    build = partial(build_model, config, num_keypoints=skeleton.num_keypoints, weights="none")
    with torch.device("meta"):  # takes no memory, of which a small file may ask for any amount
        check_weights(build(), state, source=path)
    model = build()
    load_weights(model, state, source=path)
    return LoadedModel(model.eval(), config, skeleton, metrics)


def metadata_reason(error: Exception) -> str:
    """Why a model file's metadata cannot be used: one line, with every key that is wrong."""
    if isinstance(error, ConfigError):
        return "; ".join(str(problem) for problem in error.problems)
    if isinstance(error, KeyError):
        return f"no {error.args[0]} in it"
    return first_line(error)


def read_metrics(metadata: Mapping[str, Any]) -> dict[str, float]:
    """The metrics in a model file's header; what had no ground truth (null there) is NaN."""
    saved = metadata.get("metrics") or {}
    return {name: math.nan if value is None else float(value) for name, value in saved.items()}


def load_model(path: str | Path) -> CascadedPyramidNetwork:
    """The network of a model file, in evaluation mode, on the CPU.

    Its forward takes normalised images (N, 3, H, W), see `preprocess`, and returns a `CpnOutput`
    with `global_heatmaps` coarse to fine and `refined_heatmaps`.
    """
    return load_model_with_metadata(Path(path)).model
