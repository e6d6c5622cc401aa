"""A data set's photos in, a COCO detections file and its AP(H) out."""

import logging
from pathlib import Path

from cpn.config.detection_schema import DetectConfig, SuppressionConfig
from cpn.data.annotated_photos import EVERY_PHOTO, read_annotated_photos
from cpn.data.lost_workers import named_loss_of_workers
from cpn.engine.distributed import distributed_context
from cpn.files.atomic import write_json
from cpn.prediction.person_detector import Look, SoftSuppression, TrainedDetector
from cpn.tasks.evaluation.detection_evaluation import DetectionSet

logger = logging.getLogger(__name__)

# How long a rank waits for the others, which only differ in the people of their photos.
TIMEOUT_SECONDS = 1800.0


def detect(config: DetectConfig) -> dict[str, float]:
    """Finds the people of every photo of a data set; on one process or under torchrun.

    Returns:
        The metrics of `evaluate_boxes`.

    Raises:
        FileNotFoundError: there is no such checkpoint or annotation file.
        UserError: a file is broken, or what is found cannot be scored.
    """
    with distributed_context(config.device, timeout_seconds=TIMEOUT_SECONDS) as context:
        detector = TrainedDetector.from_checkpoint(
            config.checkpoint,
            device=context.device,
            precision=config.precision,
            look=_look(config),
            score_threshold=config.inference.score_threshold,
            max_people=config.inference.max_people,
            soft=_soft(config.nms),
        )
        photos = read_annotated_photos(
            Path(config.annotations),
            Path(config.images),
            wanted=EVERY_PHOTO,
            limit=config.limit,
            max_megapixels=config.max_megapixels,
        )
        known = DetectionSet.create(
            photos, context, batch_size=config.batch_size, workers=config.workers
        )
        with named_loss_of_workers():
            evaluation = known.evaluate(detector, context)
        if context.is_main:
            write_json(Path(config.out), evaluation.records)
            logger.info(
                "%s: %d boxes in %d photos, AP(H) %.3f, AP50(H) %.3f, AR(H) %.3f, "
                "recall %.3f at IoU 0.5, %.3f at 0.75",
                *(config.out, len(evaluation.records), len(photos)),
                *(evaluation.metrics[name] for name in ("AP", "AP50", "AR100", "R50", "R75")),
            )
        return evaluation.metrics


def _look(config: DetectConfig) -> Look:
    hard = config.nms.method == "hard"
    inference = config.inference
    threshold = config.nms.threshold if hard else None
    return Look(inference.min_size, inference.max_size, threshold)


def _soft(nms: SuppressionConfig) -> SoftSuppression | None:
    if nms.method == "hard":
        return None
    return SoftSuppression(
        method="gaussian" if nms.method == "soft" else "linear",
        threshold=0.5 if nms.threshold is None else nms.threshold,
        sigma=nms.sigma,
        floor=nms.floor,
    )
