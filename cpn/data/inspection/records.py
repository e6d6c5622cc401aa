"""What the records of an annotation file say as a whole, and those that are broken."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cpn.coco.annotation_file import AnnotationFile
from cpn.coco.records import CocoAnnotation, CocoCategory, CocoPhoto, unusable_reason
from cpn.coco.strict_json import Flaw
from cpn.data.annotations import build_instances, keypoint_array
from cpn.data.inspection.finding import Finding
from cpn.data.persons import PersonInstances
from cpn.errors import one_line


def describe_flaws(flaws: Sequence[Flaw]) -> list[Finding]:
    """One error per kind of fault, with all records that have it."""
    groups: dict[tuple[str, str], list[Flaw]] = defaultdict(list)
    for flaw in flaws:
        groups[flaw.kind, flaw.problem].append(flaw)
    return [
        Finding(
            "error",
            f"{problem}{f' (value: {group[0].value})' if group[0].value else ''}",
            "mend or remove them",
            tuple(_id_of(flaw) for flaw in group),
            kind,
        )
        for (kind, problem), group in groups.items()
    ]


def _id_of(flaw: Flaw) -> int | str:
    return flaw.record_id if isinstance(flaw.record_id, int) else str(flaw.record_id)


def everybody(file: AnnotationFile[CocoPhoto], folder: Path) -> PersonInstances:
    """The people who are no crowd, also without box, keypoints or area (then NaN)."""
    person = file.person
    kept = {"", "box without area"}
    records = [record for record in file.annotations if unusable_reason(record, person.id) in kept]
    areas = [np.nan if record.area is None else record.area for record in records]
    return build_instances(
        folder,
        [file.images[record.image_id] for record in records],
        boxes_xywh=[record.bbox for record in records],
        annotation_ids=[record.id for record in records],
        keypoints=keypoint_array(records, len(person.keypoints or ())),
        areas=areas,
    )


def inspect_records(
    file: AnnotationFile[CocoPhoto], categories: Sequence[CocoCategory], *, needs_area: bool
) -> list[Finding]:
    """What single records say wrongly or need not say.

    Args:
        file: its sound records.
        categories: all of the file.
        needs_area: the file is evaluated on.
    """
    people = [record for record in file.annotations if record.category_id == file.person.id]
    return [
        *_other_categories(file, categories),
        *_crowds(people),
        *_false_counts(people),
        *_unlabelled_coordinates(people),
        *(_missing_areas(people) if needs_area else []),
    ]


def _other_categories(
    file: AnnotationFile[CocoPhoto], categories: Sequence[CocoCategory]
) -> list[Finding]:
    others = Counter(r.category_id for r in file.annotations if r.category_id != file.person.id)
    if len(categories) < 2 and not others:
        return []
    names = {category.id: one_line(category.name) for category in categories}
    counts = [f"{count} x {names.get(number, number)}" for number, count in sorted(others.items())]
    what = f"the people are category {file.person.id} '{one_line(file.person.name)}'"
    advice = f"annotations of others are left out: {', '.join(counts) or 'none'}"
    rivals = [category for category in categories if category.keypoints]
    unclear = len(rivals) > 1 or any(number not in names for number in others)
    return [Finding("warning" if unclear else "note", what, advice)]


def _crowds(people: Sequence[CocoAnnotation]) -> list[Finding]:
    ids = tuple(record.id for record in people if record.iscrowd)
    advice = "they are not trained on; evaluation does not count what is found there"
    return [Finding("note", "crowds (iscrowd = 1)", advice, ids)] if ids else []


def _false_counts(people: Sequence[CocoAnnotation]) -> list[Finding]:
    ids = tuple(
        record.id
        for record in people
        if record.num_keypoints is not None
        and record.num_keypoints != sum(v > 0 for v in (record.keypoints or [])[2::3])
    )
    what = "'num_keypoints' is not the number of keypoints with v > 0"
    return [Finding("warning", what, "it is counted afresh; is v right?", ids)] if ids else []


def _unlabelled_coordinates(people: Sequence[CocoAnnotation]) -> list[Finding]:
    """People of whom nothing is labelled although there are coordinates: v is likely wrong."""
    ids = []
    for record in people:
        numbers = record.keypoints or []
        if not any(numbers[2::3]) and any(numbers):
            ids.append(record.id)
    what = "keypoints have coordinates, but v = 0 for all of them"
    advice = "they are not trained on; set v to 2 (visible) or 1 (hidden)"
    return [Finding("warning", what, advice, tuple(ids))] if ids else []


def _missing_areas(people: Sequence[CocoAnnotation]) -> list[Finding]:
    ids = tuple(record.id for record in people if record.area is None)
    advice = "add the area of the person in square pixels: evaluation divides by it (OKS)"
    return [Finding("error", "there is no 'area'", advice, ids)] if ids else []


def inspect_empty_photos(file: AnnotationFile[CocoPhoto]) -> list[Finding]:
    """Photos without people; to be asked of a file without broken records only."""
    taken = {r.image_id for r in file.annotations if r.category_id == file.person.id}
    ids = tuple(image_id for image_id in file.images if image_id not in taken)
    advice = "they are not trained on"
    return [Finding("note", "nobody is annotated", advice, ids, "photo")] if ids else []
