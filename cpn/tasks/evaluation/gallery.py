"""The people and false positives that a report may show, and where their photos are."""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import numpy as np

from cpn.coco.strict_json import read_json
from cpn.evaluation.diagnosis import Diagnosis, FalsePositive, KeypointError, PersonDiagnosis
from cpn.report.data import GalleryItem, KeypointType, Kind

KINDS = {
    KeypointError.JITTER: Kind.JITTER,
    KeypointError.INVERSION: Kind.INVERSION,
    KeypointError.SWAP: Kind.SWAP,
    KeypointError.MISS: Kind.MISS,
}


class _Image(msgspec.Struct):
    id: int
    file_name: Any = None


class _Images(msgspec.Struct):
    images: list[_Image]


def photos_of(annotations: Path, folder: Path) -> dict[int, Path]:
    """Where the photos of an annotation file are; names that lead out of the folder are left out.

    For pictures only: what cannot be read is shown without.
    """
    found = {}
    for image in read_json(annotations, _Images).images:
        name = PurePosixPath(image.file_name if isinstance(image.file_name, str) else "")
        if name.name and not name.is_absolute() and ".." not in name.parts:
            found[image.id] = folder / name
    return found


def gallery_items(diagnosis: Diagnosis, photos: Mapping[int, Path]) -> Iterator[GalleryItem]:
    """Everyone who is to be found, and every false positive; the report chooses the worst.

    Args:
        diagnosis: of the results.
        photos: image id to file, see `photos_of`.
    """
    people = diagnosis.people
    rows = {int(number): row for row, number in enumerate(people.annotation_ids.tolist())}
    for person in diagnosis.persons:
        yield _person(diagnosis, person, rows[person.annotation_id], photos)
    for wrong in diagnosis.false_positives:
        yield _false_positive(diagnosis, wrong, photos)


def _person(
    diagnosis: Diagnosis, person: PersonDiagnosis, row: int, photos: Mapping[int, Path]
) -> GalleryItem:
    people = diagnosis.people
    shared = {
        "image_id": person.image_id,
        "photo": photos.get(person.image_id),
        "box_xywh": people.boxes_xywh[row],
        "annotation_id": person.annotation_id,
        "truth": people.keypoints[row],
    }
    if person.result is None:
        return GalleryItem(kinds=[Kind.FALSE_NEGATIVE], **shared)
    kinds = [kind for error, kind in KINDS.items() if error in person.errors]
    if person.better_result is not None:
        kinds.append(Kind.SCORE)
    return GalleryItem(
        kinds=kinds,
        result_index=person.result,
        oks=person.oks,
        score=float(diagnosis.detections.scores[person.result]),
        predicted=_points(diagnosis, person.result),
        keypoint_types=[
            None if error is KeypointError.NONE else KeypointType(error.name.lower())
            for error in person.errors
        ],
        **shared,
    )


def _false_positive(
    diagnosis: Diagnosis, wrong: FalsePositive, photos: Mapping[int, Path]
) -> GalleryItem:
    points = _points(diagnosis, wrong.result)
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    return GalleryItem(
        kinds=[Kind.FALSE_POSITIVE],
        image_id=wrong.image_id,
        photo=photos.get(wrong.image_id),
        box_xywh=[*low.tolist(), *(high - low).tolist()],
        result_index=wrong.result,
        score=wrong.score,
        predicted=points,
    )


def _points(diagnosis: Diagnosis, result: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(K, 3) x, y, score."""
    flat = diagnosis.results[result].keypoints
    return np.asarray(flat, dtype=np.float64).reshape(-1, 3)
