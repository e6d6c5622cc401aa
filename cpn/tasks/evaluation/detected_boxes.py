"""Evaluation by the boxes of a detector of ours: found first, then used like any detections."""

import logging
from pathlib import Path

from cpn.config.evaluation_schema import EvaluateConfig
from cpn.config.schema import TrainConfig
from cpn.data.annotated_photos import EVERY_PHOTO, read_annotated_photos
from cpn.data.lost_workers import named_loss_of_workers
from cpn.engine.distributed import DistributedContext
from cpn.files.atomic import write_json
from cpn.prediction.person_detector import TrainedDetector
from cpn.tasks.evaluation.detection_evaluation import DetectionSet

logger = logging.getLogger(__name__)

# Photos; they are larger than crops.
DETECTED_AT_ONCE = 8


def with_detected_boxes(
    asked: TrainConfig, config: EvaluateConfig, context: DistributedContext, *, out: Path
) -> TrainConfig:
    """The same by the boxes that `config.detector` finds in the photos, kept in a file.

    Args:
        asked: what is to be evaluated, by ground-truth boxes.
        config: of the evaluation.
        context: shares the photos among the ranks.
        out: of the evaluation; the file goes beside it, as *_detections.json.

    Raises:
        UserError: the detector or a photo cannot be used.
    """
    assert config.detector is not None, "the schema makes sure"
    file = out.with_name(f"{out.stem}_detections.json")
    split = asked.data.val
    detector = TrainedDetector.from_checkpoint(
        config.detector, device=context.device, precision=config.precision
    )
    photos = read_annotated_photos(
        Path(split.annotations),
        Path(split.images),
        wanted=EVERY_PHOTO,
        max_megapixels=asked.data.max_megapixels,
    )
    known = DetectionSet.create(
        photos, context, batch_size=DETECTED_AT_ONCE, workers=config.workers
    )
    with named_loss_of_workers():
        found = known.evaluate(detector, context)
    if context.is_main:
        write_json(file, found.records)
        logger.info("%s: %d boxes by %s", file, len(found.records), config.detector)
    context.barrier()
    detections = config.detections.model_copy(update={"file": str(file)})
    return asked.model_copy(update={"boxes": "detections", "detections": detections})
