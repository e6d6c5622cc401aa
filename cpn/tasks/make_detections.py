"""Writes a detections file of a detector that is as bad as asked for."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cpn.coco.annotation_file import CocoFile, read_annotation_file, read_detection_file
from cpn.coco.records import CocoAnnotation, CocoDetection, CocoPhoto, box_problem
from cpn.config.data_schema import MakeDetectionsConfig
from cpn.data.pretended_detector import PretendedDetector
from cpn.errors import UserError
from cpn.evaluation import evaluate_boxes
from cpn.files.atomic import write_json

logger = logging.getLogger(__name__)


def make_detections(config: MakeDetectionsConfig) -> dict[str, float]:
    """Makes the boxes of a file worse; returns and logs how good they are.

    Raises:
        UserError: a file is missing or broken, or no box is left.
    """
    annotations = Path(config.annotations)
    file = read_annotation_file(annotations, CocoFile[CocoPhoto])
    known: Sequence[CocoAnnotation | CocoDetection]
    if config.source is None:
        known = [record for record in file.annotations if not record.iscrowd]
    else:
        known = read_detection_file(
            Path(config.source), image_ids=file.images, annotations=file.source
        )
    known = [x for x in known if x.category_id == file.person.id and not box_problem(x.bbox)]
    photos = [file.images[record.image_id] for record in known]
    detector = PretendedDetector(config.jitter, config.missed, config.repeats, config.invented)
    found = detector.detect(
        np.array([record.bbox for record in known]).reshape(-1, 4),
        np.array([getattr(record, "score", 1.0) for record in known]),
        np.array([(photo.height, photo.width) for photo in photos]).reshape(-1, 2),
        seed=config.seed,
    )
    if not len(found.sources):
        raise UserError(f"{config.source or annotations}: no box is found; lower missed=…")
    records = [
        {
            "image_id": photos[source].id,
            "category_id": file.person.id,
            "bbox": box,
            "score": score,
        }
        for source, box, score in zip(*(part.tolist() for part in found), strict=True)
    ]
    write_json(Path(config.out), records)
    metrics = evaluate_boxes(annotations, records)
    logger.info(
        "%s: %d boxes, AP(H) %.3f, AP50(H) %.3f, AR(H) %.3f",
        config.out,
        len(records),
        *(metrics[name] for name in ("AP", "AP50", "AR100")),
    )
    return metrics
