"""OKS average precision: the ten numbers of the COCO keypoint evaluation."""

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from cpn.errors import UserError
from cpn.evaluation.coco_api import CocoEvaluation, Engine
from cpn.evaluation.ground_truth import GroundTruth, read_ground_truth
from cpn.evaluation.results import (
    KeypointResult,
    check_results,
    parse_results,
    read_results,
    warn_of_duplicates,
)
from cpn.skeleton import COCO_17, Skeleton, sided_pairs, skeleton_from_category

logger = logging.getLogger(__name__)

COCO_METRICS = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")


class KeypointEvaluation(NamedTuple):
    """The ten numbers, and the matches they are made of.

    Attributes:
        metrics: the numbers named in `COCO_METRICS`, 0..1. A number is NaN when there is no ground
            truth for it (say, APL without large persons; pycocotools says -1); no NaN is ever
            "best". With ground truth but no results it is 0.
        coco: gives the matches.
    """

    metrics: dict[str, float]
    coco: CocoEvaluation


def evaluate_keypoints(
    annotations: Path | Mapping[str, Any] | GroundTruth,
    results: Sequence[Mapping[str, Any] | KeypointResult],
    *,
    sigmas: Sequence[float],
    image_ids: Collection[int] | None = None,
    annotation_ids: Collection[int] | None = None,
    engine: Engine = "pycocotools",
) -> dict[str, float]:
    """Score keypoint results as pycocotools does; a warning is logged where there are none.

    Args:
        annotations: COCO file, its loaded document, or one that was read before.
        results: COCO keypoint results. Those of images that are not evaluated are left out.
        sigmas: the K OKS constants of the skeleton.
        image_ids: evaluate these images only.
        annotation_ids: evaluate these persons only, as if no other were annotated.
        engine: who computes.

    Returns:
        See `KeypointEvaluation.metrics`.

    Raises:
        UserError: results or annotations are refused (see `check_results`,
            `read_ground_truth`), or there is not one positive sigma for each keypoint.
    """
    truth = annotations if isinstance(annotations, GroundTruth) else read_ground_truth(annotations)
    _check_sigmas(truth, sigmas)
    records = parse_results(results)
    check_results(
        records,
        source="results",
        image_ids=truth.image_ids,
        category_id=truth.category_id,
        num_keypoints=len(sigmas),
    )
    chosen = truth.restrict(image_ids=image_ids, annotation_ids=annotation_ids)
    images = set(chosen.image_ids)
    records = [record for record in records if record.image_id in images]
    warn_of_duplicates(records, "results")
    _warn_of_nothing(records, truth.source)
    return match_keypoints(chosen, records, sigmas=sigmas, engine=engine).metrics


def match_keypoints(
    truth: GroundTruth,
    results: Sequence[KeypointResult],
    *,
    sigmas: Sequence[float],
    engine: Engine = "pycocotools",
) -> KeypointEvaluation:
    """`evaluate_keypoints` with the matches, of what was checked before.

    An analysis comes here some 60 times with parts of the same results: nothing is looked at
    again, and no warning told again.

    Args:
        truth: what is evaluated.
        results: as `check_results` passes them. Those of images that are not in `truth` are left
            out.
        sigmas: the K OKS constants of the skeleton.
        engine: who computes.
    """
    images = set(truth.image_ids)
    plain = [_plain(result) for result in results if result.image_id in images]
    document = truth.to_coco()
    coco = CocoEvaluation(document, plain, kind="keypoints", sigmas=sigmas, engine=engine)
    metrics = dict(zip(COCO_METRICS, coco.statistics().tolist(), strict=True))
    return KeypointEvaluation(metrics, coco)


def score_results_file(
    results: Path,
    annotations: Path,
    *,
    sigmas: Sequence[float] | None = None,
    image_ids: Collection[int] | None = None,
    annotation_ids: Collection[int] | None = None,
    engine: Engine = "pycocotools",
) -> dict[str, float]:
    """Score a COCO results file against an annotation file; needs no model and no images.

    Args:
        results: COCO keypoint results JSON.
        annotations: COCO keypoint annotations JSON.
        sigmas: OKS constants; None takes COCO's for COCO's 17 keypoints.
        image_ids: as in `evaluate_keypoints`.
        annotation_ids: as in `evaluate_keypoints`.
        engine: who computes.

    Returns:
        As `evaluate_keypoints`.

    Raises:
        UserError: a file is refused, with the record; or the sigmas are not known.
    """
    truth = read_ground_truth(annotations)
    skeleton = category_skeleton(truth, sigmas)
    records = read_results_for(truth, skeleton, results)
    chosen = truth.restrict(image_ids=image_ids, annotation_ids=annotation_ids)
    return match_keypoints(chosen, records, sigmas=skeleton.sigmas, engine=engine).metrics


def read_results_for(truth: GroundTruth, skeleton: Skeleton, path: Path) -> list[KeypointResult]:
    """Read and check a results file that belongs to a ground truth, for `match_keypoints`.

    A warning is logged where there are none.

    Raises:
        UserError: as `read_results`; or the persons have not the skeleton's keypoints.
    """
    _check_sigmas(truth, skeleton.sigmas)
    records = read_results(
        path,
        image_ids=truth.image_ids,
        category_id=truth.category_id,
        num_keypoints=skeleton.num_keypoints,
    )
    _warn_of_nothing(records, str(path))
    return records


def category_skeleton(truth: GroundTruth, sigmas: Sequence[float] | None = None) -> Skeleton:
    """The skeleton of a ground truth's category, with sigmas given or known by keypoint names.

    Left and right are paired by name, those without a counterpart are left alone: nothing is
    mirrored here. A category that names no keypoints, with 17 per person, is taken for COCO's, and
    a warning says so.

    Raises:
        UserError: the names are not COCO's and no sigmas are given.
    """
    names = truth.keypoint_names
    if names:
        limbs = [[a + 1, b + 1] for a, b in truth.limbs]
        category = {"keypoints": names, "skeleton": limbs, "sigmas": truth.sigmas}
        pairs, _ = sided_pairs(names)
        return skeleton_from_category(
            category, source=truth.source, sigmas=sigmas, flip_pairs=pairs
        )
    if sigmas is not None:
        unnamed = tuple(f"keypoint {number + 1}" for number in range(len(sigmas)))
        try:
            return Skeleton(unnamed, (), (), tuple(sigmas))
        except ValueError as error:
            raise UserError(f"sigmas=[…] (data.sigmas in train.py): {error}") from error
    found = {len(person.keypoints) // 3 for person in truth.persons if person.keypoints}
    if found != {COCO_17.num_keypoints}:
        raise UserError(
            f"{truth.source}: category {truth.category_id} names no keypoints and the persons have"
            f" {sorted(found)} keypoints; set sigmas=[…] (data.sigmas in train.py), one number per"
            " keypoint"
        )
    logger.warning(
        "%s: category %d names no keypoints; its persons have 17, taken for COCO's with COCO's"
        " OKS sigmas",
        truth.source,
        truth.category_id,
    )
    return COCO_17


def _check_sigmas(truth: GroundTruth, sigmas: Sequence[float]) -> None:
    if not all(0 < sigma < math.inf for sigma in sigmas):
        raise UserError(
            f"sigmas=[…] (data.sigmas in train.py) must be positive and finite, got {list(sigmas)}"
        )
    for person in truth.persons:
        if person.keypoints and len(person.keypoints) != 3 * len(sigmas):
            raise UserError(
                f"{truth.source}: annotation {person.id} has {len(person.keypoints) // 3} keypoints"
                f" but there are {len(sigmas)} sigmas; set sigmas=[…] (data.sigmas in train.py),"
                " one number per keypoint"
            )


def _warn_of_nothing(records: Sequence[KeypointResult], source: str) -> None:
    if not records:
        logger.warning("%s: no results to evaluate: AP is 0 by definition", source)


def _plain(record: KeypointResult) -> dict[str, Any]:
    fields = msgspec.structs.asdict(record)
    return fields if fields["bbox"] else {k: v for k, v in fields.items() if k != "bbox"}
