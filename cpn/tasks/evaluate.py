"""Evaluates a checkpoint on people, or scores an existing results file."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path

import torch

from cpn.build import LoadedModel, load_model_with_metadata
from cpn.config.schema import EvaluateConfig
from cpn.engine.distributed import DistributedContext, distributed_context
from cpn.engine.precision import Precision
from cpn.estimator import PoseEstimator
from cpn.evaluation import evaluate_boxes, score_results_file, write_metrics, write_results
from cpn.tasks.datasets import evaluation_batches, evaluation_dataset, read_split, with_boxes
from cpn.tasks.pose_evaluation import (
    PoseEvaluation,
    PoseScorer,
    evaluate_poses,
    read_image_groups,
)

logger = logging.getLogger(__name__)


def evaluate(config: EvaluateConfig) -> dict[str, float]:
    """Writes the metrics (and, from a checkpoint, the COCO results) and returns the metrics.

    Raises:
        UserError: a file is missing or broken, or the model gave non-finite predictions.
    """
    if config.results is not None:
        return _score_file(config, Path(config.results))
    with distributed_context(config.device) as context:
        return _evaluate_checkpoint(config, context)


def _score_file(config: EvaluateConfig, results: Path) -> dict[str, float]:
    assert config.annotations is not None, "the schema asks for annotations"
    metrics = score_results_file(results, Path(config.annotations), sigmas=config.sigmas)
    out = Path(config.out) if config.out else results.with_name(f"{results.stem}_metrics.json")
    write_metrics(metrics, out)
    logger.info("%s\n%s\nwritten: %s", results, format_metrics(metrics), out)
    return metrics


def _evaluate_checkpoint(config: EvaluateConfig, context: DistributedContext) -> dict[str, float]:
    assert config.checkpoint is not None, "the schema asks for one source"
    loaded = load_model_with_metadata(Path(config.checkpoint))
    scorer, evaluation = _run(config, loaded, context)
    if context.is_main:
        _report(config, scorer, evaluation)
    return evaluation.metrics


def _run(
    config: EvaluateConfig, loaded: LoadedModel, context: DistributedContext
) -> tuple[PoseScorer, PoseEvaluation]:
    split = loaded.config.data.val.model_copy(
        update={
            key: value
            for key, value in (
                ("annotations", config.annotations),
                ("images", config.images),
                ("limit", config.limit),
            )
            if value is not None
        }
    )
    known = read_split(loaded.config.data, split, for_training=False)
    people = with_boxes(known, config, images=split.images, limit=split.limit)
    scorer = PoseScorer.create(
        people,
        config.postprocess or loaded.config.postprocess,
        detections=config.detections.file,
        annotations=known.path,
        limited=split.limit is not None and config.detections.file is None,
    )
    model = loaded.model.to(context.device).to(memory_format=torch.channels_last)
    estimator = PoseEstimator.from_config(
        model,
        loaded.skeleton,
        loaded.config,
        decode=config.decode,
        precision=Precision(config.precision, context.device),
    )
    batches = evaluation_batches(
        evaluation_dataset(people, loaded.config.input),
        context,
        batch_size=config.batch_size,
        workers=config.workers,
    )
    return scorer, evaluate_poses(estimator, batches, scorer, context)


def _report(config: EvaluateConfig, scorer: PoseScorer, evaluation: PoseEvaluation) -> None:
    assert config.checkpoint is not None, "the schema asks for one source"
    out = Path(config.out) if config.out else Path(config.checkpoint).parent / "metrics.json"
    results = out.with_name(f"{out.stem}_results.json")
    metrics = evaluation.metrics | _detector_metrics(scorer)
    write_metrics(metrics, out)
    write_results(evaluation.results, results)
    logger.info("%s\n%s", scorer.describe(), format_metrics(metrics))
    if config.group_by:
        groups = read_image_groups(Path(scorer.truth.source).read_bytes(), config.group_by)
        for name, image_ids in groups.items():
            sliced = scorer.score_images(evaluation, image_ids)
            logger.info("%s=%s\n%s", config.group_by, name, format_metrics(sliced))
    logger.info("written: %s, %s", out, results)


def _detector_metrics(scorer: PoseScorer) -> dict[str, float]:
    """The detector's AP(H), where the boxes are a detector's."""
    if scorer.detections is None:
        return {}
    return {"AP(H)": evaluate_boxes(scorer.truth, scorer.detections)["AP"]}


def format_metrics(metrics: Mapping[str, float]) -> str:
    """One line of names over one line of values."""
    width = max(7, *(len(name) + 1 for name in metrics))
    names = "".join(f"{name:>{width}}" for name in metrics)
    values = "".join(
        f"{'-':>{width}}" if math.isnan(value) else f"{value:>{width}.4f}"
        for value in metrics.values()
    )
    return f"{names}\n{values}"
