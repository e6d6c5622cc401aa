"""COCO annotation and detection files, read and checked, and who the person is."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

import msgspec

from cpn.coco.broken import BrokenRecords
from cpn.coco.records import (
    CocoAnnotation,
    CocoBox,
    CocoCategory,
    CocoDetection,
    CocoImage,
    Finite,
)
from cpn.coco.rules import of_one_id_each, with_right_keypoints, without_orphans, without_repeats
from cpn.coco.strict_json import Mend, Mismatch, convert, convert_each, read_any_json, read_json
from cpn.errors import UserError, describe_ids

T = TypeVar("T")
ImageT = TypeVar("ImageT", bound=CocoImage)


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
        left_out: number of annotations that were left out as broken, or because their image was.
    """

    source: str
    person: CocoCategory
    images: dict[int, ImageT]
    annotations: list[CocoAnnotation]
    left_out: int = 0


class _Lists(msgspec.Struct):
    """A COCO annotation file whose records nobody has looked at."""

    images: list[Any]
    annotations: list[Any]
    categories: list[Any]


def read_annotation_file(
    source: Path | Mapping[str, Any],
    kind: type[CocoFile[ImageT]],
    *,
    category_id: int | None = None,
    broken: BrokenRecords | None = None,
) -> AnnotationFile[ImageT]:
    """Read and check a COCO annotation file, or a document like one.

    Args:
        source: path, or the loaded document.
        kind: says what an image must have.
        category_id: the person category; None finds it (see `person_category`).
        broken: is told of broken images and annotations; None: they are errors. Where it skips
            them, images of one id are all left out, as nobody can tell which one is meant, and all
            but the first annotation of one id.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: a person's record is broken, an id is repeated, an annotation is of no image, the
            person category is unclear, or a person's keypoints are not x, y, v of each of its
            keypoints.
    """
    name = _name_of(source)
    broken = broken or BrokenRecords()

    def choose(categories: Sequence[CocoCategory]) -> CocoCategory:
        if category_id is None:
            return person_category(categories, name, with_keypoints=True)
        return _category_by_id(categories, name, category_id)

    def mend(document: object) -> object:
        return ignore_other_categories(document, choose)

    mismatches: list[Mismatch] = []
    if broken.skip:
        document, mismatches = read_sound_records(source, kind, mend=mend)
    else:
        document = _read_whole(source, kind, mend)
    total = len(document.annotations) + _leave_out(mismatches, broken)
    person = choose(document.categories)
    images = {image.id: image for image in of_one_id_each(document.images, name, broken)}
    records = without_repeats(document.annotations, name, broken)
    records = without_orphans(records, images, name, broken)
    records = with_right_keypoints(records, person, name, broken)
    return AnnotationFile(name, person, images, records, total - len(records))


def read_sound_records(
    source: Path | Mapping[str, Any], kind: type[CocoFile[ImageT]], *, mend: Mend
) -> tuple[CocoFile[ImageT], list[Mismatch]]:
    """The records that are of their types, where the file is not right as it stands.

    Args:
        source: path, or the loaded document.
        kind: says what an image must have.
        mend: as in `strict_json.convert`.

    Returns:
        The sound records, and what is wrong with each of the others.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is not JSON, or lacks one of its three lists.
    """
    try:
        return _read_whole(source, kind, mend), []
    except UserError:
        found: Any = read_any_json(source) if isinstance(source, Path) else dict(source)
    convert(found, _Lists, source=_name_of(source))
    document = mend(found)
    mismatches: list[Mismatch] = []

    def sound(field: str, name: str, record_kind: type[T]) -> list[T]:
        records = []
        for record in convert_each(
            document, field, record_kind, name=name, source=_name_of(source)
        ):
            if isinstance(record, Mismatch):
                mismatches.append(record)
            else:
                records.append(record)
        return records

    image_kind: type[ImageT]
    (image_kind,) = get_args(kind)
    categories = sound("categories", "category", CocoCategory)
    images = sound("images", "image", image_kind)
    annotations = sound("annotations", "annotation", CocoAnnotation)
    return CocoFile(images, annotations, categories), mismatches


def _read_whole(
    source: Path | Mapping[str, Any], kind: type[CocoFile[ImageT]], mend: Mend
) -> CocoFile[ImageT]:
    if isinstance(source, Path):
        return read_json(source, kind, mend=mend)
    return convert(dict(source), kind, source=_name_of(source), mend=mend)


def _name_of(source: Path | Mapping[str, Any]) -> str:
    return str(source) if isinstance(source, Path) else "annotations"


def _leave_out(mismatches: Iterable[Mismatch], broken: BrokenRecords) -> int:
    """Tells of broken images and annotations; how many annotations these are."""
    count = 0
    for mismatch in mismatches:
        if mismatch.flaw.kind == "category":
            raise UserError(mismatch.message)
        broken.found(mismatch.reason, mismatch.message)
        count += mismatch.flaw.kind == "annotation"
    return count


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


class OwnConstants(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a category may say of its keypoints beside COCO's fields.

    Attributes:
        sigmas: K constants of OKS.
        flip_pairs: (left, right) names that change places in a mirrored photo.
    """

    sigmas: list[Finite] | None = None
    flip_pairs: list[tuple[str, str]] | None = None


def own_constants(category: CocoCategory, source: str) -> OwnConstants:
    """`sigmas` and `flip_pairs` of a category, each None where it has none.

    Raises:
        UserError: one is there and not of its type.
    """
    given = {"sigmas": category.sigmas, "flip_pairs": category.flip_pairs}
    return convert(given, OwnConstants, source=f"{source}: category {category.id}")


def refuse_unknown_images(
    records: Iterable[CocoBox | CocoDetection], image_ids: Collection[int], source: str, where: str
) -> None:
    """Make sure that every record is of an image that is known.

    Raises:
        UserError: with the ids that are not, `where` they are not.
    """
    unknown = sorted({record.image_id for record in records} - set(image_ids))
    if unknown:
        raise UserError(
            f"{source}: image ids not in {where}: {describe_ids(unknown)}; remove these records, or"
            " give the annotations that they belong to"
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
