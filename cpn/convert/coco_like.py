"""Data sets whose files are nearly COCO's: CrowdPose, COCO-WholeBody, Halpe, AP-10K."""

from collections import Counter
from pathlib import Path

import msgspec
import numpy as np

from cpn.coco.records import Area, Box, CocoPhoto, Coordinate, Id, Truth
from cpn.coco.strict_json import read_json
from cpn.convert.known import AP_10K, CROWDPOSE, WHOLEBODY_PARTS, halpe, wholebody
from cpn.convert.labels import Category, FloatArray, Labels, Person, Photo, Wishes
from cpn.errors import UserError

Keypoints = list[Coordinate]
# Halpe's third number is a score where a keypoint was not drawn by hand; from here on AlphaPose,
# its authors' program, trains on it.
HALPE_LABELLED = 0.35


class _Image(CocoPhoto, frozen=True, kw_only=True):
    crowd_index: float | None = msgspec.field(default=None, name="crowdIndex")


class _Annotation(msgspec.Struct, frozen=True, kw_only=True):
    """`keypoints` and the other lists are x, y, v one after the other."""

    id: Id
    image_id: Id
    bbox: Box
    iscrowd: Truth | None = 0
    area: Area | None = None
    keypoints: Keypoints | int | None = None  # Halpe has 0 for nobody's
    foot_kpts: Keypoints | None = None
    face_kpts: Keypoints | None = None
    lefthand_kpts: Keypoints | None = None
    righthand_kpts: Keypoints | None = None


class _File(msgspec.Struct, frozen=True):
    images: list[_Image]
    annotations: list[_Annotation]


def read_crowdpose(source: Path, wishes: Wishes) -> Labels:  # noqa: ARG001 - one call for all
    """CrowdPose's JSON files, with the crowd index of every photo."""
    return _read_plain(source, CROWDPOSE)


def read_ap10k(source: Path, wishes: Wishes) -> Labels:  # noqa: ARG001
    """AP-10K's JSON files; all species become one category, as they have the same keypoints."""
    labels = _read_plain(source, AP_10K)
    labels.notes.append("all species are one category, animal: their keypoints are the same")
    return labels


def read_halpe(source: Path, wishes: Wishes) -> Labels:  # noqa: ARG001
    """Halpe's JSON files of 26 or 136 keypoints."""
    file = read_json(source, _File)
    longest = max((len(_numbers(record, "keypoints")) for record in file.annotations), default=0)
    category = halpe(longest // 3)
    if category is None:
        raise UserError(
            f"{source}: its people have {longest // 3} keypoints; Halpe's are 26 or 136"
        )
    labels = _labels(source, file, category, ("keypoints",), (len(category.keypoints),))
    scored = 0
    for person in labels.people:
        v = person.keypoints[:, 2]
        is_score = ~np.isin(v, (0, 1, 2))
        scored += int(is_score.sum())
        v[is_score] = np.where(v[is_score] >= HALPE_LABELLED, 2, 0)
    if scored:
        labels.notes.append(
            f"{scored} keypoints have a score for v: from {HALPE_LABELLED:g} on they are labelled"
        )
    return labels


def read_wholebody(source: Path, wishes: Wishes) -> Labels:
    """COCO-WholeBody's JSON files: body, feet, face and hands, or some of them.

    A face or hand is labelled as a whole there, in the box of the body; where it is not, its
    keypoints have v = 0.
    """
    parts = wishes.parts or tuple(WHOLEBODY_PARTS)
    fields = tuple(WHOLEBODY_PARTS[part][0] for part in parts)
    counts = tuple(len(WHOLEBODY_PARTS[part][1]) for part in parts)
    return _labels(source, read_json(source, _File), wholebody(parts), fields, counts)


def _read_plain(source: Path, category: Category) -> Labels:
    file = read_json(source, _File)
    labels = _labels(source, file, category, ("keypoints",), (len(category.keypoints),))
    for person in labels.people:
        _require_visibility(source, person)
    return labels


def _require_visibility(source: Path, person: Person) -> None:
    v = person.keypoints[:, 2]
    if wrong := v[~np.isin(v, (0, 1, 2))].tolist():
        raise UserError(f"{source}: annotation {person.id}: v is {wrong[0]:g}; it is 0, 1 or 2")


def _labels(
    source: Path,
    file: _File,
    category: Category,
    fields: tuple[str, ...],
    counts: tuple[int, ...],
) -> Labels:
    """The people of a file, whose keypoints stand in one field or in one after the other."""
    photos = [
        Photo(image.file_name, (image.height, image.width), image.id, image.crowd_index)
        for image in file.images
    ]
    position = {image.id: index for index, image in enumerate(file.images)}
    people = []
    for record in file.annotations:
        if record.image_id not in position:
            raise UserError(
                f"{source}: annotation {record.id} is of image {record.image_id}, which 'images'"
                " lacks; add the image or remove the annotation"
            )
        points = [
            _points(source, record, name, count) for name, count in zip(fields, counts, strict=True)
        ]
        people.append(
            Person(
                photo=position[record.image_id],
                keypoints=np.concatenate(points),
                box_xywh=record.bbox,
                area=record.area,
                is_crowd=bool(record.iscrowd),
                id=record.id,
            )
        )
    return Labels(category, photos, people, Counter())


def _numbers(record: _Annotation, name: str) -> list[float]:
    found = getattr(record, name)
    return found if isinstance(found, list) else []


def _points(source: Path, record: _Annotation, name: str, count: int) -> FloatArray:
    numbers = _numbers(record, name) or [0.0] * (3 * count)
    if len(numbers) != 3 * count:
        raise UserError(
            f"{source}: annotation {record.id}: '{name}' has {len(numbers)} numbers, {count}"
            f" keypoints need {3 * count} (x, y, v each)"
        )
    points = np.array(numbers, dtype=np.float64).reshape(count, 3)
    # In faces and hands any v above 0 means labelled, and it may be a fraction.
    if name != "keypoints":
        points[:, 2] = np.where(points[:, 2] > 0, np.ceil(points[:, 2]).clip(max=2), 0)
    return points
