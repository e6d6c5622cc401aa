"""Evaluates a checkpoint on people, or scores an existing results file."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel

from cpn.build import load_model_with_metadata
from cpn.config.data_schema import SplitConfig
from cpn.config.evaluation_schema import EvaluateConfig
from cpn.config.schema import TrainConfig
from cpn.data.lost_workers import named_loss_of_workers
from cpn.engine.distributed import DistributedContext, distributed_context
from cpn.engine.precision import Precision
from cpn.errors import UserError
from cpn.evaluation import COCO_METRICS, write_results
from cpn.evaluation.calibration import Rescaling
from cpn.evaluation.diagnosis import diagnose
from cpn.models.folding import folded
from cpn.prediction.estimator import PoseEstimator
from cpn.tasks.data.datasets import evaluation_batches
from cpn.tasks.evaluation.detected_boxes import with_detected_boxes
from cpn.tasks.evaluation.gallery import photos_of
from cpn.tasks.evaluation.output import format_metrics, write_evaluation
from cpn.tasks.evaluation.pose_evaluation import (
    PoseEvaluation,
    PoseScorer,
    evaluate_poses,
    evaluation_set,
    read_image_groups,
)
from cpn.tasks.evaluation.prediction_parts import PredictionParts, evaluation_identity
from cpn.tasks.evaluation.report import Background
from cpn.tasks.evaluation.score_calibration import calibrate
from cpn.tasks.evaluation.score_results import score_results

Group = TypeVar("Group", bound=BaseModel)

logger = logging.getLogger(__name__)


def evaluate(config: EvaluateConfig) -> dict[str, float]:
    """Writes the metrics (and, from a checkpoint, the COCO results) and returns the metrics.

    Those of detected boxes are among the metrics of rank 0 only.

    Raises:
        UserError: a file is missing or broken, or the model gave non-finite predictions.
    """
    if config.results is not None:
        return score_results(config)
    with distributed_context(config.device) as context:
        return _evaluate_checkpoint(config, context)


def _evaluate_checkpoint(config: EvaluateConfig, context: DistributedContext) -> dict[str, float]:
    assert config.checkpoint is not None, "the schema asks for one source"
    loaded = load_model_with_metadata(Path(config.checkpoint))
    asked = _as_asked(loaded.config, config)
    if config.detector is not None:
        asked = with_detected_boxes(asked, config, context, out=_out(config))
    people = evaluation_set(
        asked,
        context,
        skeleton=loaded.skeleton,
        batch_size=config.batch_size,
        workers=config.workers,
    )
    scorer = _with_rescaling(people.scorer, config.rescaling)
    groups = _image_groups(config, scorer)
    model = folded(loaded.model, loaded.config.input.size_hw).to(context.device)
    model = model.to(memory_format=torch.channels_last)
    precision = Precision(config.precision, context.device)
    estimator = PoseEstimator.from_config(model, loaded.skeleton, asked, precision=precision)
    parts = PredictionParts.open(
        _out(config).with_name(f"{_out(config).stem}_parts"),
        evaluation_identity(
            Path(config.checkpoint),
            asked,
            people.dataset.instances,
            precision=f"{config.precision} {context.device.type}",
        ),
        context,
        batches=config.part_batches,
    )
    batches = evaluation_batches(
        people.dataset,
        context,
        batch_size=config.batch_size,
        workers=config.workers,
        done=parts.done,
    )
    with named_loss_of_workers():
        evaluation = evaluate_poses(estimator, batches, scorer, context, parts=parts)
    if evaluation.on_main is None:
        return evaluation.metrics
    metrics = _report(config, scorer, evaluation.on_main, groups)
    parts.remove()
    return metrics


def _as_asked(trained: TrainConfig, config: EvaluateConfig) -> TrainConfig:
    """The training config with the data, boxes, decoding and scoring that are to be used."""
    data = trained.data.model_copy(update={"val": _split_as_asked(trained.data.val, config)})
    decode = _overridden(trained.decode, config.decode.model_dump(exclude_none=True))
    postprocess = _overridden(trained.postprocess, config.postprocess.model_dump(exclude_none=True))
    changes = {"data": data, "decode": decode, "postprocess": postprocess}
    boxes = {"boxes": "ground_truth", "detections": config.detections}
    if config.boxes == "detections":
        boxes["boxes"] = "detections"
    changes["evaluation"] = config.evaluation
    return trained.model_copy(update=changes | boxes)


def _split_as_asked(trained: SplitConfig, config: EvaluateConfig) -> SplitConfig:
    """The checkpoint's val split, or another file, of which the val limit says nothing."""
    kept_limit = trained.limit if config.annotations is None else None
    if config.boxes != "ground_truth" and kept_limit is not None:
        raise UserError(
            f"boxes={config.boxes} cannot go with the checkpoint's data.val.limit={kept_limit}: "
            "that many boxes would be scored against everybody; give annotations=<COCO keypoint "
            f"json> to use all of a file, e.g. annotations={trained.annotations}"
        )
    return SplitConfig(
        annotations=config.annotations or trained.annotations,
        images=config.images or trained.images,
        limit=config.limit or kept_limit,
    )


def _overridden(trained: Group, changes: Mapping[str, object]) -> Group:
    return type(trained).model_validate(trained.model_dump() | dict(changes))


def _with_rescaling(scorer: PoseScorer, file: str | None) -> PoseScorer:
    if file is None:
        return scorer
    rescaling = Rescaling.load(Path(file), score=scorer.postprocess.score)
    return replace(scorer, rescaling=rescaling)


def _image_groups(config: EvaluateConfig, scorer: PoseScorer) -> dict[str, list[int]]:
    """Image ids by the value of the field `group_by`; nothing where none is asked for."""
    if config.group_by is None:
        return {}
    return read_image_groups(Path(scorer.truth.source).read_bytes(), config.group_by)


def _out(config: EvaluateConfig) -> Path:
    assert config.checkpoint is not None, "the schema asks for one source"
    return Path(config.out) if config.out else Path(config.checkpoint).parent / "metrics.json"


def _report(
    config: EvaluateConfig,
    scorer: PoseScorer,
    evaluation: PoseEvaluation,
    groups: Mapping[str, list[int]],
) -> dict[str, float]:
    out = _out(config)
    results = out.with_name(f"{out.stem}_results.json")
    metrics = dict(evaluation.metrics)
    if scorer.detections is not None:
        metrics |= scorer.box_metrics()
    logger.info("%s\n%s", scorer.describe(), format_metrics(metrics))
    document: dict[str, Any] = {**metrics, "boxes": scorer.box_source}
    if groups:
        sliced = {name: scorer.score_images(evaluation, ids) for name, ids in groups.items()}
        for name, numbers in sliced.items():
            logger.info("%s=%s\n%s", config.group_by, name, format_metrics(numbers))
        document |= {"group_by": config.group_by, "groups": sliced}
    diagnosis = diagnose(scorer.evaluated_truth(), evaluation.results, scorer.people.skeleton)
    calibration = calibrate(diagnosis, scorer.postprocess.score)
    if calibration.rescaling is not None and scorer.rescaling is None:
        calibration.rescaling.save(out.with_name(f"{out.stem}_rescaling.json"))
    folder = scorer.people.instances.image_folder
    background = Background(
        title=Path(str(config.checkpoint)).resolve().parent.name,
        box_source=scorer.box_source,
        confidence=config.evaluation.confidence,
        resamples=config.evaluation.resamples,
        photos=photos_of(Path(scorer.truth.source), folder) if config.evaluation.report else {},
        facts=_facts(config, scorer),
        extra={name: value for name, value in metrics.items() if name not in COCO_METRICS},
        calibration=calibration.report,
        scores="as predicted" if scorer.rescaling is None else "rescaled",
    )
    written = write_evaluation(
        config.evaluation, diagnosis, out, document=document, background=background
    )
    write_results(evaluation.results, results)
    logger.info("written: %s", ", ".join(map(str, [*written, results])))
    return metrics


def _facts(config: EvaluateConfig, scorer: PoseScorer) -> dict[str, str]:
    rule = scorer.postprocess
    return {
        "checkpoint": str(config.checkpoint),
        "annotations": scorer.truth.source,
        "score": rule.score if config.rescaling is None else f"{rule.score}, {config.rescaling}",
        "NMS": rule.nms if rule.nms == "none" else f"{rule.nms} at {rule.nms_threshold:g}",
        "evaluator": config.evaluation.engine,
    }
