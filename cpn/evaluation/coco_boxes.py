"""AP(H): how good the person boxes are that a pose network is given."""

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from cpn.coco.annotation_file import read_detection_file
from cpn.coco.records import CocoDetection
from cpn.errors import UserError
from cpn.evaluation.coco_api import CocoEvaluation
from cpn.evaluation.ground_truth import GroundTruth, read_ground_truth
from cpn.evaluation.matching import Average, FloatArray, IntArray, Matches

logger = logging.getLogger(__name__)

BOX_METRICS = (
    *("AP", "AP50", "AP75", "APS", "APM", "APL"),
    *("AR1", "AR10", "AR100", "ARS", "ARM", "ARL"),
    *("R50", "R75"),
)
RECALL_THRESHOLDS = (0.5, 0.75)
# What they average, see `Matches.statistics`; AR1 and AR10 are of an image's best 1 and 10 boxes.
_ALL, _SMALL, _MEDIUM, _LARGE = range(4)
_PRECISIONS: tuple[Average, ...] = (
    *((_ALL, None, "precision"), (_ALL, 0.5, "precision"), (_ALL, 0.75, "precision")),
    *((_SMALL, None, "precision"), (_MEDIUM, None, "precision"), (_LARGE, None, "precision")),
)
_OF_FEWER: tuple[Average, ...] = ((_ALL, None, "recall"),)
_RECALLS: tuple[Average, ...] = (
    *((_ALL, None, "recall"), (_SMALL, None, "recall"), (_MEDIUM, None, "recall")),
    (_LARGE, None, "recall"),
    *((_ALL, threshold, "recall") for threshold in RECALL_THRESHOLDS),
)


class BoxEvaluation(NamedTuple):
    """What `evaluate_boxes` returns, and the matches that it is made of.

    Attributes:
        metrics: the numbers named in `BOX_METRICS`.
        coco: gives the matches.
    """

    metrics: dict[str, float]
    coco: CocoEvaluation


def box_statistics(matches: Matches, weights: IntArray | None = None) -> FloatArray:
    """The numbers named in `BOX_METRICS`, of matched boxes, equal to `evaluate_boxes`'.

    Args:
        matches: of boxes.
        weights: (R, I) how often each image counts; None: each once.

    Returns:
        (R, M), or (M,) without weights; NaN where there is nobody to find.
    """
    whole = matches.statistics(weights, (*_PRECISIONS, *_RECALLS))
    fewer = [
        matches.of_all_sizes().best_of_each_image(most).statistics(weights, _OF_FEWER)
        for most in (1, 10)
    ]
    place = len(_PRECISIONS)
    return np.concatenate([whole[..., :place], *fewer, whole[..., place:]], axis=-1)


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
        The numbers named in `BOX_METRICS`; "AP" is what papers call AP(H), "R50" the recall at
        100 boxes per photo and an IoU of 0.5. NaN when there is no ground truth; 0, with a warning,
        when there is ground truth but no person detection.

    Raises:
        UserError: a record is mistyped, not finite, or of an unknown image; with its number.
    """
    return match_boxes(annotations, detections, image_ids=image_ids).metrics


def match_boxes(
    annotations: Path | Mapping[str, Any] | GroundTruth,
    detections: Path | Sequence[Mapping[str, Any]],
    *,
    image_ids: Collection[int] | None = None,
) -> BoxEvaluation:
    """`evaluate_boxes` with the matches."""
    truth = annotations if isinstance(annotations, GroundTruth) else read_ground_truth(annotations)
    source = str(detections) if isinstance(detections, Path) else "detections"
    records = read_detection_file(detections, image_ids=truth.image_ids, annotations=truth.source)
    _check_sizes(records, source)
    chosen = truth.restrict(image_ids=image_ids)
    images = set(chosen.image_ids)
    results = [
        msgspec.structs.asdict(record) | {"bbox": list(record.bbox)}  # pycocotools takes lists only
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
    evaluation = CocoEvaluation(chosen.to_coco(), results, kind="bbox")
    numbers = [*evaluation.statistics().tolist(), *map(evaluation.recall, RECALL_THRESHOLDS)]
    return BoxEvaluation(dict(zip(BOX_METRICS, numbers, strict=True)), evaluation)


def _check_sizes(records: Sequence[CocoDetection], source: str) -> None:
    for index, record in enumerate(records):
        if min(record.bbox[2:]) < 0:
            raise UserError(
                f"{source}: record {index} (image {record.image_id}): bbox {list(record.bbox)} must"
                " be [x, y, width, height] with no size below 0"
            )
