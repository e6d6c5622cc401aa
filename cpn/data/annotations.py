"""COCO annotation and detection files -> persons to crop.

Broken records are refused with file and id, or left out and counted by reason up to a limit where
`Standards.max_skipped` says so; records that are right but of no use are dropped and counted.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cpn.coco.annotation_file import (
    AnnotationFile,
    CocoFile,
    own_constants,
    read_annotation_file,
    read_detection_file,
    required_area,
)
from cpn.coco.broken import BrokenRecords
from cpn.coco.records import (
    CocoAnnotation,
    CocoDetection,
    CocoPhoto,
    box_problem,
    describe_dropped,
    split_usable,
)
from cpn.coco.rules import tell_repeated, without_orphans
from cpn.coco.strict_json import convert
from cpn.data.image_files import MAX_MEGAPIXELS
from cpn.data.persons import FloatArray, PersonInstance, PersonInstances
from cpn.data.standards import Gaps, Standards, refuse_too_many, with_usable_photos
from cpn.errors import UserError, one_line
from cpn.skeleton import GivenSigmas, Skeleton, skeleton_from_category

__all__ = [
    "PersonAnnotations",
    "PersonInstance",
    "PersonInstances",
    "Standards",
    "read_detections",
    "read_keypoint_names",
    "read_person_annotations",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PersonAnnotations:
    """What an annotation (or detections) file gives.

    Attributes:
        skeleton: of the person category.
        category_id: of the person category.
        instances: the persons that are kept, in the file's order.
        dropped: number of records left out as useless, by reason.
        path: the file.
        gaps: what is broken, where `Standards` lets it be.
    """

    skeleton: Skeleton
    category_id: int
    instances: PersonInstances
    dropped: Counter[str]
    path: Path
    gaps: Gaps = Gaps()  # noqa: RUF009 - nobody changes it


def read_keypoint_names(annotations: Path) -> tuple[str, ...]:
    """The keypoint names of the person category; raises as `read_person_annotations`."""
    return tuple(_read_file(annotations, BrokenRecords()).person.keypoints or ())


def read_person_annotations(
    annotations: Path,
    images: Path,
    *,
    sigmas: GivenSigmas = None,
    flip_pairs: Sequence[tuple[str, str]] | None = None,
    min_keypoints: int = 1,
    limit: int | None = None,
    for_training: bool = True,
    standards: Standards = Standards(),  # noqa: B008 - immutable
) -> PersonAnnotations:
    """Reads a COCO keypoint file.

    Crowds, boxes without area and persons with fewer than `min_keypoints` labelled keypoints
    (for evaluation: with none, as COCO ignores those) are dropped and counted; they remain ground
    truth for COCO's evaluation, which reads the file itself. `num_keypoints` is counted afresh.

    Args:
        annotations: the JSON file.
        images: the folder that its `file_name`s are relative to.
        sigmas: OKS constants, needed for other keypoints than COCO's 17 (`data.sigmas`).
        flip_pairs: pairs of names (`data.flip_pairs`); None tells them by left/right.
        min_keypoints: fewest labelled keypoints of a training instance.
        limit: keep only the first so many instances; of these, broken photos are left out.
        for_training: ignore keypoints outside the image, and do without `area`.
        standards: what to refuse.

    Raises:
        FileNotFoundError: the file or the image folder does not exist.
        UserError: a record is broken, an image file is missing or too large, more of them than may
            be skipped are, or no person is left.
    """
    broken = BrokenRecords(skip=standards.max_skipped is not None)
    file = _read_file(annotations, broken)
    skeleton = file_skeleton(file, sigmas, flip_pairs)
    records, dropped = split_usable(file.annotations, file.person.id)
    keypoints = keypoint_array(records, skeleton.num_keypoints)
    if for_training:
        dropped["keypoint outside its image, ignored"] = _ignore_outside(
            keypoints, [file.images[record.image_id] for record in records]
        )
    enough = (keypoints[..., 2] > 0).sum(axis=1) >= (min_keypoints if for_training else 1)
    dropped["too few labelled keypoints"] = int((~enough).sum())
    rows = _limited(np.flatnonzero(enough), limit)
    records = [records[row] for row in rows]
    instances = build_instances(
        images,
        [file.images[record.image_id] for record in records],
        boxes_xywh=[record.bbox for record in records],
        annotation_ids=[record.id for record in records],
        keypoints=keypoints[rows],
        areas=[_area(record, file.source, needed=not for_training) for record in records],
    )
    usable, missing = with_usable_photos(instances, annotations, standards, broken)
    left_out = file.left_out + len(instances) - len(usable)
    total = file.left_out + len(file.annotations)
    refuse_too_many(broken, left_out + len(missing), total, annotations, standards)
    _report(usable, dropped, annotations)
    gaps = Gaps(broken.counts, left_out, missing)
    return PersonAnnotations(skeleton, file.person.id, usable, +dropped, annotations, gaps)


def read_detections(
    detections: Path,
    annotations: Path,
    images: Path,
    *,
    sigmas: GivenSigmas = None,
    flip_pairs: Sequence[tuple[str, str]] | None = None,
    score_threshold: float = 0.0,
    limit: int | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> PersonAnnotations:
    """Reads a COCO detections file: person boxes with scores, no keypoints (v = 0 everywhere).

    Boxes of other categories, below `score_threshold` or without area are dropped and counted.
    An instance's `annotation_id` is its position in the detections file.

    Args:
        detections: JSON list of image_id, category_id, bbox, score.
        annotations: the COCO keypoint file that the images and the person category come from.
        images: the folder that its `file_name`s are relative to.
        sigmas: as in `read_person_annotations`.
        flip_pairs: as in `read_person_annotations`.
        score_threshold: lowest score that is kept.
        limit: keep only the first so many boxes.
        max_megapixels: most millions of pixels of a photo.

    Raises:
        FileNotFoundError: a file or the image folder does not exist.
        UserError: a record is broken, an image is unknown, missing or too large, or no box is left.
    """
    file = _read_file(annotations, BrokenRecords())
    skeleton = file_skeleton(file, sigmas, flip_pairs)
    found = read_detection_file(detections, image_ids=file.images.keys(), annotations=file.source)
    dropped: Counter[str] = Counter()
    kept = []
    for position, item in enumerate(found):
        reason = _unusable_detection(item, file.person.id, score_threshold)
        dropped[reason] += 1
        if not reason:
            kept.append(position)
    del dropped[""]
    kept = list(_limited(kept, limit))
    instances = build_instances(
        images,
        [file.images[found[position].image_id] for position in kept],
        boxes_xywh=[found[position].bbox for position in kept],
        annotation_ids=kept,
        keypoints=np.zeros((len(kept), skeleton.num_keypoints, 3)),
        box_scores=[found[position].score for position in kept],
    )
    standards = Standards(max_megapixels=max_megapixels)
    with_usable_photos(instances, annotations, standards, BrokenRecords())
    _report(instances, dropped, detections)
    return PersonAnnotations(skeleton, file.person.id, instances, +dropped, detections)


def _read_file(path: Path, broken: BrokenRecords) -> AnnotationFile[CocoPhoto]:
    """The file; refuses repeated photos, and a person category that names no keypoints."""
    file = read_annotation_file(path, CocoFile[CocoPhoto], broken=broken)
    names = [photo.file_name for photo in file.images.values()]
    reason = "image: repeated file_name"
    if repeated := tell_repeated(names, "file_name", file.source, broken, reason=reason):
        images = {
            key: photo for key, photo in file.images.items() if photo.file_name not in repeated
        }
        records = without_orphans(file.annotations, images, file.source, broken)
        left_out = file.left_out + len(file.annotations) - len(records)
        file = replace(file, images=images, annotations=records, left_out=left_out)
    require_keypoint_names(file)
    return file


def require_keypoint_names(file: AnnotationFile[CocoPhoto]) -> None:
    """Refuses a file whose person category names no keypoints.

    Raises:
        UserError: with the category.
    """
    if not file.person.keypoints:
        raise UserError(
            f"{file.source}: needs a category with 'keypoints', the names of its keypoints; the"
            f" person is category {file.person.id} '{one_line(file.person.name)}', which has none"
        )


def file_skeleton(
    file: AnnotationFile[CocoPhoto],
    sigmas: GivenSigmas,
    flip_pairs: Sequence[tuple[str, str]] | None,
) -> Skeleton:
    """The skeleton of a file's person category.

    Raises:
        UserError: limbs, sigmas or flip pairs are broken or cannot be told.
    """
    limbs = convert(
        file.person.skeleton or [],
        list[tuple[int, int]],
        source=f"{file.source}: 'skeleton' of category {file.person.id}",
    )
    own = own_constants(file.person, file.source)
    return skeleton_from_category(
        {
            "keypoints": file.person.keypoints,
            "skeleton": limbs,
            "sigmas": own.sigmas,
            "flip_pairs": own.flip_pairs,
        },
        source=file.source,
        sigmas=sigmas,
        flip_pairs=flip_pairs,
    )


def _unusable_detection(item: CocoDetection, category_id: int, score_threshold: float) -> str:
    """Why a detection is dropped; empty for one to keep."""
    if item.category_id != category_id:
        return "other category"
    if item.score < score_threshold:
        return "score below the threshold"
    return box_problem(item.bbox)


def keypoint_array(records: Sequence[CocoAnnotation], num_keypoints: int) -> FloatArray:
    """(N, K, 3); unlabelled keypoints are all zero, whatever coordinates the file gives them."""
    keypoints = np.zeros((len(records), num_keypoints, 3))
    for row, record in zip(keypoints, records, strict=True):
        if record.keypoints:
            row[:] = np.reshape(record.keypoints, (num_keypoints, 3))
    keypoints[keypoints[..., 2] == 0] = 0
    return keypoints


def _ignore_outside(keypoints: FloatArray, images: Sequence[CocoPhoto]) -> int:
    """Sets v = 0 in place where a point is more than a pixel outside; returns how many."""
    sizes = np.array([(image.width, image.height) for image in images]).reshape(-1, 1, 2)
    points = keypoints[..., :2]
    outside = ((points < -1) | (points > sizes)).any(axis=-1) & (keypoints[..., 2] > 0)
    keypoints[outside] = 0
    return int(outside.sum())


def _area(record: CocoAnnotation, source: str, *, needed: bool) -> float:
    if needed or record.area is not None:
        return required_area(record, source)
    return record.bbox[2] * record.bbox[3]


def _limited(rows: npt.ArrayLike, limit: int | None) -> npt.NDArray[np.int64]:
    if limit is not None and limit < 1:
        raise UserError(f"the limit on instances must be at least 1, got {limit}")
    return np.asarray(rows, dtype=np.int64)[:limit]


def build_instances(
    folder: Path,
    images: Sequence[CocoPhoto],
    *,
    boxes_xywh: Sequence[tuple[float, ...]],
    annotation_ids: Sequence[int],
    keypoints: FloatArray,
    areas: Sequence[float] | None = None,
    box_scores: Sequence[float] | None = None,
) -> PersonInstances:
    """Puts N records into arrays; areas default to the boxes', scores to 1."""
    boxes = np.array(boxes_xywh, dtype=np.float64).reshape(-1, 4)
    return PersonInstances(
        image_folder=folder,
        file_names=np.array([image.file_name.encode() for image in images], dtype=np.bytes_),
        image_ids=np.array([image.id for image in images], dtype=np.int64),
        annotation_ids=np.array(annotation_ids, dtype=np.int64),
        image_sizes_hw=np.array(
            [(image.height, image.width) for image in images], dtype=np.int64
        ).reshape(-1, 2),
        boxes_xywh=boxes,
        keypoints=keypoints,
        areas=boxes[:, 2] * boxes[:, 3] if areas is None else np.array(areas, dtype=np.float64),
        box_scores=np.ones(len(boxes)) if box_scores is None else np.array(box_scores),
    )


def _report(instances: PersonInstances, dropped: Counter[str], path: Path) -> None:
    """Makes sure that somebody is left; tells how many were dropped."""
    reasons = describe_dropped(dropped)
    if not instances:
        raise UserError(
            f"{path}: no person is left to use; dropped: {reasons}; give a file with people whose"
            " keypoints are labelled"
        )
    logger.info("%s: %d persons; dropped: %s", path, len(instances), reasons)
