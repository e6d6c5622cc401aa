"""All broken records of a COCO annotation file at once, and the sound rest.

The rules are those of `read_annotation_file`, which stops at the first broken record.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from cpn.coco.annotation_file import (
    AnnotationFile,
    CocoFile,
    ignore_other_categories,
    person_category,
    read_sound_records,
)
from cpn.coco.records import CocoAnnotation, CocoCategory, CocoImage, CocoPhoto
from cpn.coco.rules import keypoints_problem, orphans_of, repeated_values
from cpn.coco.strict_json import Flaw

RecordT = TypeVar("RecordT", bound=CocoImage | CocoAnnotation)


class Salvage(NamedTuple):
    """What can be used of an annotation file, and why the rest cannot.

    Attributes:
        file: the sound records.
        categories: all sound ones.
        flaws: one per record that is broken.
    """

    file: AnnotationFile[CocoPhoto]
    categories: list[CocoCategory]
    flaws: list[Flaw]


def salvage_annotation_file(path: Path) -> Salvage:
    """Reads what is sound of a COCO keypoint file.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is not JSON, lacks one of its three lists, or the person category is unclear.
    """
    kind = CocoFile[CocoPhoto]
    content, mismatches = read_sound_records(path, kind, mend=_without_others(path))
    flaws = [mismatch.flaw for mismatch in mismatches]
    person = person_category(content.categories, str(path), with_keypoints=True)
    images = _unrepeated(content.images, "image", flaws)
    images = _first_of_each_file(images, flaws)
    known = {image.id: image for image in images}
    # The annotations of a broken image are told with that image alone.
    listed: set[object] = {*known, *(image.id for image in content.images)}
    listed |= {flaw.record_id for flaw in flaws if flaw.kind == "image"}
    records = _unrepeated(content.annotations, "annotation", flaws)
    orphans = {record.id for record in orphans_of(records, listed)}
    sound = []
    for record in records:
        if record.id in orphans:
            flaws.append(_orphan(record))
        elif record.category_id == person.id and (problem := keypoints_problem(record, person)):
            flaws.append(Flaw("annotation", record.id, problem.text, ""))
        elif record.image_id in known:
            sound.append(record)
    file = AnnotationFile(str(path), person, known, sound)
    return Salvage(file, content.categories, flaws)


def _without_others(path: Path) -> Callable[[Any], Any]:
    def choose(categories: Sequence[CocoCategory]) -> CocoCategory:
        return person_category(categories, str(path), with_keypoints=True)

    return partial(ignore_other_categories, choose=choose)


def _unrepeated(records: Sequence[RecordT], kind: str, flaws: list[Flaw]) -> list[RecordT]:
    """The first record of each id; the others become flaws."""
    repeated = set(repeated_values(record.id for record in records))
    flaws += [
        Flaw(kind, record_id, "'id' used more than once", "") for record_id in sorted(repeated)
    ]
    if not repeated:
        return list(records)
    return list({record.id: record for record in reversed(records)}.values())[::-1]


def _first_of_each_file(images: Sequence[CocoPhoto], flaws: list[Flaw]) -> list[CocoPhoto]:
    seen: set[str] = set()
    kept = []
    for image in images:
        if image.file_name in seen:
            problem = "'file_name' used by another image too"
            flaws.append(Flaw("image", image.id, problem, repr(image.file_name)))
        else:
            kept.append(image)
        seen.add(image.file_name)
    return kept


def _orphan(record: CocoAnnotation) -> Flaw:
    return Flaw("annotation", record.id, "'image_id' that 'images' lacks", str(record.image_id))
