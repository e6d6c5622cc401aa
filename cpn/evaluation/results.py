"""COCO keypoint results: a JSON list of {image_id, category_id, keypoints, score}."""

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from cpn.coco.strict_json import convert, read_json
from cpn.errors import UserError
from cpn.evaluation.predictions import MAX_NAMED, PosePredictions, non_finite_message
from cpn.files.atomic import write_json

logger = logging.getLogger(__name__)


class KeypointResult(msgspec.Struct, frozen=True):
    """One record of a results file. `keypoints` is x, y, score per keypoint, flat.

    `bbox`, when every record has one, gives the area of COCO's medium and large classes; without
    it pycocotools takes the extent of the keypoints.
    """

    image_id: int
    category_id: int
    keypoints: list[float]
    score: float
    bbox: list[float] | None = None


def to_coco_results(
    predictions: PosePredictions, scores: NDArray[np.float64], *, category_id: int
) -> list[dict[str, Any]]:
    """Plain records of all predictions, in order, with (N,) instance scores.

    Raises:
        UserError: a keypoint or score is not finite; count and first ids are named.
    """
    predictions.check_finite()
    finite = np.isfinite(scores)
    if not finite.all():
        message = non_finite_message(finite, predictions.image_ids, predictions.instance_ids)
        raise UserError(message)
    triples = np.concatenate([predictions.keypoints, predictions.keypoint_scores[..., None]], -1)
    n, k = predictions.keypoint_scores.shape
    rows = triples.reshape(n, 3 * k).tolist()
    return [
        {"image_id": image_id, "category_id": category_id, "keypoints": row, "score": score}
        for image_id, row, score in zip(
            predictions.image_ids.tolist(), rows, scores.tolist(), strict=True
        )
    ]


def write_results(results: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write a results file atomically; numbers keep all their digits."""
    write_json(path, list(results))


def read_results(
    path: Path, *, image_ids: Collection[int], category_id: int, num_keypoints: int
) -> list[KeypointResult]:
    """Read and check a results file; a warning is logged where results repeat others.

    Args:
        path: the JSON file.
        image_ids: all images of the annotations the results belong to.
        category_id: the person category of these annotations.
        num_keypoints: K of this category.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: as `check_results`; also what is not JSON (NaN and Infinity are not), or misses
            or mistypes a field.
    """
    results = read_json(path, list[KeypointResult])
    check_results(
        results,
        source=str(path),
        image_ids=image_ids,
        category_id=category_id,
        num_keypoints=num_keypoints,
    )
    warn_of_duplicates(results, str(path))
    return results


def parse_results(records: Sequence[Mapping[str, Any] | KeypointResult]) -> list[KeypointResult]:
    """Typed records from dicts such as `to_coco_results` gives.

    Raises:
        UserError: a field is missing or has the wrong type.
    """
    return convert(list(records), list[KeypointResult], source="results")


def check_results(
    results: Sequence[KeypointResult],
    *,
    source: str,
    image_ids: Collection[int],
    category_id: int,
    num_keypoints: int,
) -> None:
    """Refuse what pycocotools would score wrongly without a word.

    Raises:
        UserError: wrong category, wrong number of keypoints, a box on some records only, unknown
            image ids, or a NaN or infinity; with source, record number, field and value.
    """
    for index, result in enumerate(results):
        if result.category_id != category_id:
            raise UserError(
                f"{source}: record {index}: category_id {result.category_id} is not the person"
                f" category {category_id} of the annotations; correct or remove it"
            )
        if len(result.keypoints) != 3 * num_keypoints:
            raise UserError(
                f"{source}: record {index}: keypoints has {len(result.keypoints)} numbers, expected"
                f" {3 * num_keypoints} (x, y, score for each of {num_keypoints} keypoints);"
                " give the results of a network with the annotations' keypoints"
            )
    _check_boxes(results, source)
    _check_images(results, source, image_ids)
    _check_finite(results, source)


def _check_boxes(results: Sequence[KeypointResult], source: str) -> None:
    lengths = [len(result.bbox or []) for result in results]
    for index, length in enumerate(lengths):
        if length not in (0, 4) or length != lengths[0]:
            raise UserError(
                f"{source}: record {index}: bbox {results[index].bbox} must be [x, y, width,"
                " height] in every record or in none"
            )


def _check_images(
    results: Sequence[KeypointResult], source: str, image_ids: Collection[int]
) -> None:
    known = set(image_ids)
    unknown: dict[int, int] = {}  # the first record of each
    for index, result in enumerate(results):
        if result.image_id not in known:
            unknown.setdefault(result.image_id, index)
    if unknown:
        first = list(unknown.items())[:MAX_NAMED]
        places = ", ".join(f"{image_id} (record {index})" for image_id, index in first)
        raise UserError(
            f"{source}: {len(unknown)} image_id values are not in the annotations (first:"
            f" {places}); use the annotations these results were made for"
        )


def _check_finite(results: Sequence[KeypointResult], source: str) -> None:
    bad = [
        (index, name)
        for index, result in enumerate(results)
        for name, numbers in (
            ("keypoints", result.keypoints),
            ("score", [result.score]),
            ("bbox", result.bbox or []),
        )
        if not all(map(math.isfinite, numbers))
    ]
    if bad:
        places = ", ".join(
            f"record {index} {name} (image {results[index].image_id})"
            for index, name in bad[:MAX_NAMED]
        )
        raise UserError(
            f"{source}: {len({index for index, _ in bad})} of {len(results)} results have"
            f" non-finite numbers (first: {places}); pycocotools would score NaN as perfect;"
            " remove them or estimate again"
        )


def warn_of_duplicates(results: Sequence[KeypointResult], source: str) -> None:
    """Log how many results repeat another one."""
    distinct = {(result.image_id, tuple(result.keypoints)) for result in results}
    repeated = len(results) - len(distinct)
    if repeated:
        logger.warning(
            "%s: %d of %d results repeat another (same image, same keypoints): each repeat counts"
            " as a false positive",
            source,
            repeated,
            len(results),
        )
