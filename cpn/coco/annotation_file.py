"""COCO annotation and detection files: what one record cannot show, and who the person is."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from cpn.coco.records import CocoAnnotation, CocoBox, CocoCategory, CocoDetection, CocoImage
from cpn.coco.strict_json import convert, read_json
from cpn.errors import UserError, count_records, describe_ids

ImageT = TypeVar("ImageT", bound=CocoImage)
ValueT = TypeVar("ValueT", bound=int | str)


class CocoFile(msgspec.Struct, Generic[ImageT], frozen=True):
    """A COCO annotation file as it stands, with what its reader needs of an image."""

    images: list[ImageT]
    annotations: list[CocoAnnotation]
    categories: list[CocoCategory]


@dataclass(frozen=True)
class AnnotationFile(Generic[ImageT]):
    """A checked COCO annotation file.

    Attributes:
        source: the file, for messages.
        person: the person category; it may name no keypoints.
        images: by id, in the file's order.
        annotations: of all categories, in the file's order.
    """

    source: str
    person: CocoCategory
    images: dict[int, ImageT]
    annotations: list[CocoAnnotation]


def read_annotation_file(
    source: Path | Mapping[str, Any],
    kind: type[CocoFile[ImageT]],
    *,
    category_id: int | None = None,
) -> AnnotationFile[ImageT]:
    """Read and check a COCO annotation file, or a document like one.

    Args:
        source: path, or the loaded document.
        kind: says what an image must have.
        category_id: the person category; None finds it (see `person_category`).

    Raises:
        FileNotFoundError: there is no such file.
        UserError: a person's record is broken, an id is repeated, an annotation is of no image, the
            person category is unclear, or a person's keypoints are not x, y, v of each of its
            keypoints.
    """
    name = str(source) if isinstance(source, Path) else "annotations"

    def choose(categories: Sequence[CocoCategory]) -> CocoCategory:
        if category_id is None:
            return person_category(categories, name, with_keypoints=True)
        return _category_by_id(categories, name, category_id)

    def mend(document: object) -> object:
        return ignore_other_categories(document, choose)

    document = (
        read_json(source, kind, mend=mend)
        if isinstance(source, Path)
        else convert(dict(source), kind, source=name, mend=mend)
    )
    refuse_repeated([image.id for image in document.images], "image id", name)
    refuse_repeated([record.id for record in document.annotations], "annotation id", name)
    images = {image.id: image for image in document.images}
    _refuse_orphans(document.annotations, images, name)
    person = choose(document.categories)
    for record in document.annotations:
        if record.category_id == person.id and (problem := keypoints_problem(record, person)):
            raise UserError(f"{name}: annotation {record.id}: {problem}")
    return AnnotationFile(name, person, images, document.annotations)


def person_category(
    categories: Sequence[CocoCategory], source: str, *, with_keypoints: bool
) -> CocoCategory:
    """The category called person, else the only one with keypoints, else the only one.

    Args:
        categories: of the file.
        source: the file, for messages.
        with_keypoints: keypoints are wanted, not boxes alone: look only at the categories that name
            some, if any does.

    Raises:
        UserError: there is not exactly one such category.
    """
    able = [category for category in categories if category.keypoints]
    known = able if able and with_keypoints else categories
    named = [category for category in known if category.name == "person"]
    for candidates in (named, able, known):
        if len(candidates) == 1:
            return candidates[0]
    raise UserError(
        f"{source}: which category is the person is unclear among (id, name) {_listed(known)}; "
        "call exactly one of them 'person' in 'categories'"
    )


def ignore_other_categories(
    document: Any,  # noqa: ANN401 - any JSON value
    choose: Callable[[Sequence[CocoCategory]], CocoCategory],
) -> Any:  # noqa: ANN401
    """A COCO document with nothing but ids left of what is no person: what it holds is not used.

    Args:
        document: as read; returned as it is where its person category cannot be told.
        choose: the person category; raises a UserError where it is unclear.
    """
    try:
        person = choose(msgspec.convert(document["categories"], list[CocoCategory]))
        records = msgspec.convert(document["annotations"], list[Any])
    except (KeyError, TypeError, UserError, msgspec.ValidationError):
        return document
    return document | {"annotations": [_ids_of_other(record, person.id) for record in records]}


def _ids_of_other(record: Any, person_id: int) -> Any:  # noqa: ANN401 - any JSON value
    if not isinstance(record, dict) or record.get("category_id") in (None, person_id):
        return record
    known = {key: record[key] for key in ("id", "image_id", "category_id") if key in record}
    return known | {"bbox": [0, 0, 0, 0]}


def required_area(record: CocoAnnotation, source: str) -> float:
    """The person's area in square pixels.

    Raises:
        UserError: the record has none.
    """
    if record.area is None:
        raise UserError(
            f"{source}: annotation {record.id} has no 'area', which OKS divides by; add the area of"
            " the person in pixels"
        )
    return record.area


def read_detection_file(
    source: Path | Sequence[Mapping[str, Any]], *, image_ids: Collection[int], annotations: str
) -> list[CocoDetection]:
    """Read and check COCO detections.

    Args:
        source: path, or the loaded records.
        image_ids: all images of the annotations that the detections belong to.
        annotations: the file of these annotations, for messages.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: a record is broken, or of an unknown image.
    """
    if isinstance(source, Path):
        name, found = str(source), read_json(source, list[CocoDetection])
    else:
        name = "detections"
        found = convert(list(source), list[CocoDetection], source=name)
    refuse_unknown_images(found, image_ids, name, annotations)
    return found


def refuse_unknown_images(
    records: Iterable[CocoBox | CocoDetection], image_ids: Collection[int], source: str, where: str
) -> None:
    """Make sure that every record is of an image that is known.

    Raises:
        UserError: with the ids that are not, `where` they are not.
    """
    unknown = sorted({record.image_id for record in records} - set(image_ids))
    if unknown:
        raise UserError(f"{source}: image ids not in {where}: {describe_ids(unknown)}")


def refuse_repeated(values: Iterable[int | str], what: str, source: str) -> None:
    """Make sure that every value is there once.

    Raises:
        UserError: with `what` the values are, how many are repeated, and the first of these.
    """
    if repeated := repeated_values(values):
        raise UserError(f"{source}: {what} used more than once: {describe_ids(repeated)}")


def repeated_values(values: Iterable[ValueT]) -> list[ValueT]:
    """Those that are there more than once."""
    return [value for value, count in Counter(values).items() if count > 1]


def keypoints_problem(record: CocoAnnotation, category: CocoCategory) -> str:
    """What is wrong with keypoints that are not x, y, v each; empty for right ones and none."""
    numbers = record.keypoints or []
    names = category.keypoints or [str(k + 1) for k in range(len(numbers) // 3)]
    if numbers and len(numbers) != 3 * len(names):
        return (
            f"'keypoints' has {len(numbers)} numbers, {len(names)} keypoints need"
            f" {3 * len(names)} (x, y, v each)"
        )
    if {0, 1, 2}.issuperset(numbers[2::3]):
        return ""
    known = zip(names, numbers[2::3], strict=True)
    name, v = next((name, v) for name, v in known if v not in {0, 1, 2})
    return f"keypoint '{name}' has v = {v:g}; allowed are 0, 1 and 2"


def _refuse_orphans(
    annotations: Sequence[CocoAnnotation], image_ids: Collection[int], source: str
) -> None:
    orphans = [record for record in annotations if record.image_id not in image_ids]
    if orphans:
        raise UserError(
            f"{source}: {count_records('annotation', [record.id for record in orphans])} with an"
            f" image_id that 'images' lacks, the first one {orphans[0].image_id}; remove them or"
            " add the images"
        )


def _category_by_id(
    categories: Sequence[CocoCategory], source: str, category_id: int
) -> CocoCategory:
    found = [category for category in categories if category.id == category_id]
    if len(found) != 1:
        raise UserError(
            f"{source}: expected category {category_id} once, the file has (id, name)"
            f" {_listed(categories)}"
        )
    return found[0]


def _listed(categories: Iterable[CocoCategory]) -> list[tuple[int, str]]:
    return [(category.id, category.name) for category in categories]
