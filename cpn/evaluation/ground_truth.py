"""The ground truth of a COCO annotation file, checked, for evaluation.

Training drops crowds and persons without keypoints; here they stay, because COCO's evaluation
ignores predictions that fall on them instead of counting them as wrong.
"""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np

from cpn.errors import UserError
from cpn.evaluation.predictions import MAX_NAMED
from cpn.evaluation.strict_json import convert, read_json

logger = logging.getLogger(__name__)


class _Image(msgspec.Struct, frozen=True):
    id: int


class _Annotation(msgspec.Struct, frozen=True):
    id: int
    image_id: int
    category_id: int
    bbox: list[float] | None = None
    area: float | None = None
    iscrowd: int | bool = 0
    keypoints: list[float] | None = None
    num_keypoints: int | None = None


class _Category(msgspec.Struct, frozen=True):
    id: int
    name: str = ""
    keypoints: list[str] | None = None


class _CocoFile(msgspec.Struct, frozen=True):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


class Person(msgspec.Struct, frozen=True):
    """One annotated person: x, y, v per keypoint (flat, K may be 0), box, area in pixels."""

    id: int
    image_id: int
    keypoints: list[float]
    bbox: list[float]
    area: float
    iscrowd: int

    @property
    def num_keypoints(self) -> int:
        """How many keypoints are labelled (v > 0), counted, not believed."""
        return sum(visibility > 0 for visibility in self.keypoints[2::3])


@dataclass(frozen=True)
class GroundTruth:
    """What evaluation needs of an annotation file.

    Attributes:
        source: the file, for messages.
        category_id: the person category.
        keypoint_names: K names of this category; empty when the file names none.
        image_ids: ids of all images to evaluate.
        persons: annotations of the person category in these images.
    """

    source: str
    category_id: int
    keypoint_names: tuple[str, ...]
    image_ids: tuple[int, ...]
    persons: tuple[Person, ...]

    def restrict(
        self,
        *,
        image_ids: Collection[int] | None = None,
        annotation_ids: Collection[int] | None = None,
    ) -> Self:
        """Only some images, or only some annotations and the images they are in.

        Persons that are left out are as if never annotated: a prediction on them is wrong.

        Raises:
            UserError: an id is not in the file.
        """
        images = self._known("image", self.image_ids, image_ids)
        annotations = self._known("annotation", (p.id for p in self.persons), annotation_ids)
        persons = tuple(p for p in self.persons if p.image_id in images and p.id in annotations)
        if annotation_ids is not None:
            images = {person.image_id for person in persons}
        kept = tuple(image_id for image_id in self.image_ids if image_id in images)
        return replace(self, image_ids=kept, persons=persons)

    def _known(self, what: str, known: Iterable[int], wanted: Collection[int] | None) -> set[int]:
        available = set(known)
        chosen = available if wanted is None else set(wanted)
        if unknown := sorted(chosen - available):
            raise UserError(f"{self.source}: no {what} with the ids {unknown[:MAX_NAMED]}")
        return chosen

    def to_coco(self) -> dict[str, Any]:
        """A fresh COCO document with annotation ids 1..n.

        pycocotools stores the id of a match and reads 0 as "no match", so an id of 0 would cost a
        correct prediction its match.
        """
        annotations = [
            msgspec.structs.asdict(person)
            | {
                "id": 1 + index,
                "category_id": self.category_id,
                "num_keypoints": person.num_keypoints,
            }
            for index, person in enumerate(self.persons)
        ]
        images = [{"id": image_id} for image_id in self.image_ids]
        return {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": self.category_id}],
        }


def read_ground_truth(
    annotations: Path | Mapping[str, Any], *, category_id: int | None = None
) -> GroundTruth:
    """Read and check the person annotations of a COCO file or of a document like one.

    Args:
        annotations: path, or the loaded document.
        category_id: the person category; None takes the only category that names keypoints, else
            the one called "person", else the only one.

    Raises:
        UserError: with file and id, what is not a COCO document: wrong types, repeated ids,
            unknown images, bad boxes, areas or keypoints, or an unclear person category.
    """
    if isinstance(annotations, Path):
        source, document = str(annotations), read_json(annotations, _CocoFile)
    else:
        source = "annotations"
        document = convert(dict(annotations), _CocoFile, source=source)
    _refuse_repeated("image", (image.id for image in document.images), source)
    _refuse_repeated("annotation", (record.id for record in document.annotations), source)
    category = _person_category(document.categories, category_id, source)
    records = [a for a in document.annotations if a.category_id == category.id]
    image_ids = tuple(image.id for image in document.images)
    _refuse_orphans(records, set(image_ids), source)
    persons = tuple(_person(record, source) for record in records)
    truth = GroundTruth(source, category.id, tuple(category.keypoints or ()), image_ids, persons)
    _warn_of_miscounts(records, truth)
    return truth


def _person_category(
    categories: list[_Category], category_id: int | None, source: str
) -> _Category:
    found = [c for c in categories if c.id == category_id]
    if category_id is None:
        found = (
            [c for c in categories if c.keypoints]
            or [c for c in categories if c.name == "person"]
            or categories
        )
    if len(found) != 1:
        listed = [(c.id, c.name) for c in categories]
        wanted = "one person category" if category_id is None else f"category {category_id}"
        raise UserError(f"{source}: expected {wanted}, the file has (id, name) {listed}")
    return found[0]


def _person(record: _Annotation, source: str) -> Person:
    where = f"{source}: annotation {record.id}"
    box = record.bbox
    if box is None or len(box) != 4 or not np.isfinite(box).all():
        raise UserError(f"{where}: bbox {box} must be four finite numbers [x, y, width, height]")
    if record.area is None or not 0 <= record.area < np.inf:
        raise UserError(f"{where}: area {record.area} must be a finite number, 0 or more")
    keypoints = record.keypoints or []
    if len(keypoints) % 3 or not np.isfinite(keypoints).all():
        raise UserError(
            f"{where}: keypoints must be finite x, y, v triples, got {len(keypoints)} numbers:"
            f" {keypoints}"
        )
    if wrong := set(keypoints[2::3]) - {0, 1, 2}:
        raise UserError(f"{where}: keypoint visibility must be 0, 1 or 2, got {sorted(wrong)}")
    crowd = int(record.iscrowd)
    return Person(record.id, record.image_id, keypoints, box, record.area, crowd)


def _refuse_repeated(what: str, ids: Iterable[int], source: str) -> None:
    repeated = [key for key, count in Counter(ids).items() if count > 1]
    if repeated:
        raise UserError(
            f"{source}: {len(repeated)} {what} ids occur more than once: {repeated[:MAX_NAMED]}"
        )


def _refuse_orphans(records: Iterable[_Annotation], image_ids: set[int], source: str) -> None:
    orphans = [record for record in records if record.image_id not in image_ids]
    if orphans:
        first = [(record.id, record.image_id) for record in orphans[:MAX_NAMED]]
        raise UserError(
            f"{source}: {len(orphans)} annotations are of images that the file does not list;"
            f" first (annotation, image): {first}"
        )


def _warn_of_miscounts(records: Iterable[_Annotation], truth: GroundTruth) -> None:
    wrong = [
        record.id
        for record, person in zip(records, truth.persons, strict=True)
        if record.num_keypoints not in (None, person.num_keypoints)
    ]
    if wrong:
        logger.warning(
            "%s: num_keypoints is not the number of labelled keypoints in %d annotations (first:"
            " %s); the counted number is used",
            truth.source,
            len(wrong),
            wrong[:MAX_NAMED],
        )
