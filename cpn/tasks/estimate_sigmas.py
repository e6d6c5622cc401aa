"""Measures OKS sigmas on people whom two annotators have labelled."""

import logging
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from cpn.coco.annotation_file import AnnotationFile, CocoFile, read_annotation_file
from cpn.coco.records import CocoAnnotation, CocoPhoto, box_problem
from cpn.config.data_schema import EstimateSigmasConfig
from cpn.data.annotations import keypoint_array
from cpn.errors import UserError
from cpn.evaluation.sigmas import SigmaEstimate
from cpn.evaluation.sigmas import estimate_sigmas as estimate
from cpn.files.atomic import plain_json, write_json
from cpn.geometry.box_nms import box_iou
from cpn.geometry.boxes import xywh_to_xyxy
from cpn.report.text_table import markdown_table

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]


class _Annotator(NamedTuple):
    """What one annotator has said.

    Attributes:
        names: of the keypoints.
        people: by the photo's file name.
    """

    names: list[str]
    people: dict[str, list[CocoAnnotation]]


def estimate_sigmas(config: EstimateSigmasConfig) -> SigmaEstimate:
    """Pairs the people of two files by photo and box, and logs every keypoint's sigma.

    Raises:
        UserError: a file is missing or broken, the keypoints differ, or too few people are in both.
    """
    first, second = (_read(Path(name)) for name in (config.first, config.second))
    if first.names != second.names:
        raise UserError(
            f"{config.second}: its keypoints are {second.names}, those of {config.first}"
            f" {first.names}; both need the same, in one order"
        )
    pairs = _pairs(first, second, config.min_iou)
    if not pairs:
        raise UserError(
            f"{config.second}: nobody of {config.first} is in it: no two boxes in a photo of the"
            f" same file_name overlap by min_iou={config.min_iou:g}"
        )
    count = len(first.names)
    found = estimate(
        keypoint_array([a for a, _ in pairs], count),
        keypoint_array([b for _, b in pairs], count),
        np.array([a.area or a.bbox[2] * a.bbox[3] for a, _ in pairs], dtype=np.float64),
    )
    _check_counts(found, first.names, config)
    _tell(found, first.names, len(pairs))
    if config.out is not None:
        write_json(Path(config.out), plain_json(_document(found, first.names)))
    return found


def _read(path: Path) -> _Annotator:
    file: AnnotationFile[CocoPhoto] = read_annotation_file(path, CocoFile[CocoPhoto])
    if not file.person.keypoints:
        raise UserError(f"{path}: the person category has no 'keypoints' names")
    people: dict[str, list[CocoAnnotation]] = defaultdict(list)
    for record in file.annotations:
        labelled = record.category_id == file.person.id and record.keypoints and not record.iscrowd
        if labelled and not box_problem(record.bbox):
            people[file.images[record.image_id].file_name].append(record)
    return _Annotator(list(file.person.keypoints), people)


def _pairs(
    first: _Annotator, second: _Annotator, min_iou: float
) -> list[tuple[CocoAnnotation, CocoAnnotation]]:
    """The records of one person each: those that overlap most in all of a photo."""
    pairs = []
    for photo in first.people.keys() & second.people.keys():
        ours, theirs = first.people[photo], second.people[photo]
        boxes = xywh_to_xyxy([record.bbox for record in theirs])
        overlaps = np.stack([box_iou(xywh_to_xyxy(record.bbox), boxes) for record in ours])
        rows, columns = linear_sum_assignment(overlaps, maximize=True)
        pairs += [
            (ours[row], theirs[column])
            for row, column in zip(rows, columns, strict=True)
            if overlaps[row, column] >= min_iou
        ]
    return pairs


def _check_counts(found: SigmaEstimate, names: list[str], config: EstimateSigmasConfig) -> None:
    few = [
        f"{name} {count}"
        for name, count in zip(names, found.pairs.tolist(), strict=True)
        if count < config.min_pairs
    ]
    if few:
        raise UserError(
            f"fewer than min_pairs={config.min_pairs} people were labelled twice: {', '.join(few)};"
            " annotate more, or accept less sure sigmas by a lower min_pairs"
        )
    exact = [name for name, value in zip(names, found.sigmas.tolist(), strict=True) if value == 0]
    if exact:
        raise UserError(
            f"both files say exactly the same of {', '.join(exact)}: that is one annotation, copied"
        )


def _tell(found: SigmaEstimate, names: list[str], people: int) -> None:
    rows = [
        (name, str(count), f"{sigma:.4f}", f"{robust:.4f}")
        for name, count, sigma, robust in zip(
            names, found.pairs.tolist(), found.sigmas.tolist(), found.robust.tolist(), strict=True
        )
    ]
    head = ("keypoint", "labelled twice", "sigma", "by the median")
    logger.info("%s", markdown_table(head, rows, right=(1, 2, 3)))
    values = ",".join(f"{sigma:.4f}" for sigma in found.sigmas.tolist())
    logger.info("of %d people: 'data.sigmas=[%s]'", people, values)


def _document(found: SigmaEstimate, names: list[str]) -> dict[str, object]:
    return {
        name: {"sigma": sigma, "robust": robust, "pairs": count}
        for name, sigma, robust, count in zip(
            names, found.sigmas.tolist(), found.robust.tolist(), found.pairs.tolist(), strict=True
        )
    }
