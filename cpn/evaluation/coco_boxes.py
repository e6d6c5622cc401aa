"""AP(H): how good the person boxes are that a pose network is given."""

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from cpn.errors import UserError
from cpn.evaluation.coco_api import coco_statistics
from cpn.evaluation.ground_truth import GroundTruth, read_ground_truth
from cpn.evaluation.predictions import MAX_NAMED
from cpn.evaluation.strict_json import convert, read_json

logger = logging.getLogger(__name__)

BOX_METRICS = (
    *("AP", "AP50", "AP75", "APS", "APM", "APL"),
    *("AR1", "AR10", "AR100", "ARS", "ARM", "ARL"),
)


class _Detection(msgspec.Struct, frozen=True):
    image_id: int
    category_id: int
    bbox: list[float]
    score: float


def evaluate_boxes(
    annotations: Path | Mapping[str, Any] | GroundTruth,
    detections: Path | Sequence[Mapping[str, Any]],
    *,
    image_ids: Collection[int] | None = None,
) -> dict[str, float]:
    """Average precision of a detector on the person category, by IoU of boxes.

    Args:
        annotations: COCO file, its loaded document, or one that was read before.
        detections: COCO detections {image_id, category_id, bbox xywh, score}, a file or records;
            other categories than the person's are left out.
        image_ids: evaluate these images only.

    Returns:
        The numbers named in `BOX_METRICS`; "AP" is what papers call AP(H). NaN when there is no
        ground truth; 0, with a warning, when there is ground truth but no person detection.

    Raises:
        UserError: a record is mistyped, not finite, or of an unknown image; with its number.
    """
    truth = annotations if isinstance(annotations, GroundTruth) else read_ground_truth(annotations)
    source, records = _read(detections)
    _check(records, source, set(truth.image_ids))
    chosen = truth.restrict(image_ids=image_ids)
    images = set(chosen.image_ids)
    results = [
        msgspec.structs.asdict(record)
        for record in records
        if record.category_id == truth.category_id and record.image_id in images
    ]
    if not results:
        logger.warning(
            "%s: none of the %d detections has the person category %d: AP is 0 by definition",
            source,
            len(records),
            truth.category_id,
        )
    statistics = coco_statistics(chosen.to_coco(), results, kind="bbox")
    return dict(zip(BOX_METRICS, statistics.tolist(), strict=True))


def _read(detections: Path | Sequence[Mapping[str, Any]]) -> tuple[str, list[_Detection]]:
    if isinstance(detections, Path):
        return str(detections), read_json(detections, list[_Detection])
    return "detections", convert(list(detections), list[_Detection], source="detections")


def _check(records: Sequence[_Detection], source: str, image_ids: set[int]) -> None:
    for index, record in enumerate(records):
        finite = np.isfinite([*record.bbox, record.score]).all()
        if len(record.bbox) != 4 or not finite or min(record.bbox[2:]) < 0:
            raise UserError(
                f"{source}: record {index} (image {record.image_id}): bbox {record.bbox} must be"
                f" [x, y, width, height] and score {record.score} a number, all finite, no size"
                " below 0"
            )
    unknown = sorted({record.image_id for record in records} - image_ids)
    if unknown:
        raise UserError(
            f"{source}: {len(unknown)} image_id values are not in the annotations (first:"
            f" {unknown[:MAX_NAMED]})"
        )
