"""Scores an existing COCO results file: needs no model, and photos for the gallery only."""

import logging
from pathlib import Path

from cpn.config.evaluation_schema import EvaluateConfig
from cpn.evaluation import (
    category_skeleton,
    evaluate_keypoints,
    read_ground_truth,
    read_results_for,
)
from cpn.evaluation.coco_keypoints import match_keypoints
from cpn.evaluation.conventions import average_precision_by_crowding
from cpn.evaluation.diagnosis import diagnose
from cpn.tasks.evaluation.gallery import photos_of
from cpn.tasks.evaluation.output import format_metrics, write_evaluation
from cpn.tasks.evaluation.report import Background
from cpn.tasks.evaluation.score_calibration import calibrate

logger = logging.getLogger(__name__)


def score_results(config: EvaluateConfig) -> dict[str, float]:
    """Writes the metrics of `results`, and the report; returns the ten numbers.

    Raises:
        UserError: a file is missing or broken, or the sigmas are not known.
    """
    assert config.results is not None, "the caller chooses"
    assert config.annotations is not None, "the schema asks for annotations"
    path, annotations = Path(config.results), Path(config.annotations)
    truth = read_ground_truth(annotations)
    skeleton = category_skeleton(truth, config.sigmas)
    results = read_results_for(truth, skeleton, path)
    engine = config.evaluation.engine
    metrics = match_keypoints(truth, results, sigmas=skeleton.sigmas, engine=engine).metrics
    metrics |= average_precision_by_crowding(
        truth,
        lambda image_ids: evaluate_keypoints(
            truth, results, sigmas=skeleton.sigmas, image_ids=image_ids, engine=engine
        )["AP"],
    )
    logger.info("%s\n%s", path, format_metrics(metrics))
    diagnosis = diagnose(truth, results, skeleton)
    shows_photos = config.evaluation.report and config.images is not None
    background = Background(
        title=path.stem,
        box_source="unknown: a results file does not say",
        confidence=config.evaluation.confidence,
        resamples=config.evaluation.resamples,
        photos=photos_of(annotations, Path(str(config.images))) if shows_photos else {},
        facts={"results": str(path), "annotations": str(annotations), "evaluator": engine},
        calibration=calibrate(diagnosis, "given").report,
    )
    out = Path(config.out) if config.out else path.with_name(f"{path.stem}_metrics.json")
    written = write_evaluation(
        config.evaluation, diagnosis, out, document=metrics, background=background
    )
    logger.info("written: %s", ", ".join(map(str, written)))
    return metrics
