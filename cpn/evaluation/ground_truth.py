"""The ground truth of a COCO annotation file, checked, for evaluation.

Training drops crowds and persons without keypoints; here they stay, because COCO's evaluation
ignores predictions that fall on them instead of counting them as wrong.
"""

import logging
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import msgspec

from cpn.coco.annotation_file import (
    CocoFile,
    own_constants,
    read_annotation_file,
    required_area,
)
from cpn.coco.records import CocoAnnotation, CocoImage, Finite
from cpn.errors import UserError, count_records, describe_ids

logger = logging.getLogger(__name__)


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


class _Image(CocoImage, frozen=True, kw_only=True):
    """An image with CrowdPose's measure of how people overlap, if it has one."""

    crowd_index: Finite | None = msgspec.field(default=None, name="crowdIndex")


@dataclass(frozen=True)
class GroundTruth:
    """What evaluation needs of an annotation file.

    Attributes:
        source: the file, for messages.
        category_id: the person category.
        keypoint_names: K names of this category; empty when the file names none.
        limbs: 0-based pairs of keypoints that the category joins; none if they make no sense.
        sigmas: of OKS, that the category gives; None: none.
        head_sizes: diagonals of head boxes in pixels by annotation id, of those who have one.
        crowd_index: by image id, of those that have one.
        image_ids: ids of all images to evaluate.
        persons: annotations of the person category in these images.
    """

    source: str
    category_id: int
    keypoint_names: tuple[str, ...]
    image_ids: tuple[int, ...]
    persons: tuple[Person, ...]
    limbs: tuple[tuple[int, int], ...] = ()
    sigmas: tuple[float, ...] | None = None
    head_sizes: Mapping[int, float] = field(default_factory=dict)
    crowd_index: Mapping[int, float] = field(default_factory=dict)

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
            raise UserError(f"{self.source}: no {what} with these ids: {describe_ids(unknown)}")
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
            "categories": [{"id": self.category_id, "name": "person"}],
        }


def read_ground_truth(
    annotations: Path | Mapping[str, Any], *, category_id: int | None = None
) -> GroundTruth:
    """Read and check the person annotations of a COCO file or of a document like one.

    Args:
        annotations: path, or the loaded document.
        category_id: the person category; None finds it (see `person_category`).

    Raises:
        FileNotFoundError: there is no such file.
        UserError: as `read_annotation_file`, or a person has no area.
    """
    file = read_annotation_file(annotations, CocoFile[_Image], category_id=category_id)
    records = [record for record in file.annotations if record.category_id == file.person.id]
    persons = tuple(_person(record, file.source) for record in records)
    _warn_of_miscounts(records, persons, file.source)
    names = tuple(file.person.keypoints or ())
    limbs = _limbs(file.person.skeleton, len(names))
    sigmas = own_constants(file.person, file.source).sigmas
    return GroundTruth(
        source=file.source,
        category_id=file.person.id,
        keypoint_names=names,
        image_ids=tuple(file.images),
        persons=persons,
        limbs=limbs,
        sigmas=None if sigmas is None else tuple(sigmas),
        head_sizes={x.id: math.hypot(*x.head_box[2:]) for x in records if x.head_box is not None},
        crowd_index={
            image.id: image.crowd_index
            for image in file.images.values()
            if image.crowd_index is not None
        },
    )


def _limbs(skeleton: object, num_keypoints: int) -> tuple[tuple[int, int], ...]:
    """The category's 1-based pairs from 0; they are for pictures only, so bad ones are no error."""
    try:
        limbs = msgspec.convert(skeleton or [], list[tuple[int, int]])
    except msgspec.ValidationError:
        return ()
    known = range(num_keypoints)
    return tuple((a - 1, b - 1) for a, b in limbs if a - 1 in known and b - 1 in known and a != b)


def _person(record: CocoAnnotation, source: str) -> Person:
    return Person(
        record.id,
        record.image_id,
        record.keypoints or [],
        list(record.bbox),
        required_area(record, source),
        int(record.iscrowd or 0),
    )


def _warn_of_miscounts(
    records: Iterable[CocoAnnotation], persons: Iterable[Person], source: str
) -> None:
    wrong = [
        record.id
        for record, person in zip(records, persons, strict=True)
        if record.num_keypoints not in (None, person.num_keypoints)
    ]
    if wrong:
        logger.warning(
            "%s: num_keypoints is not the number of labelled keypoints in %s; the counted number"
            " is used",
            source,
            count_records("annotation", wrong),
        )
