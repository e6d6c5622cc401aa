"""What one record of a COCO annotation file cannot show: ids, images and keypoint names."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from cpn.coco.broken import BrokenRecords
from cpn.coco.records import CocoAnnotation, CocoCategory, CocoImage
from cpn.errors import UserError, count_records, describe_ids, one_line

ImageT = TypeVar("ImageT", bound=CocoImage)
ValueT = TypeVar("ValueT", bound=int | str)

_VISIBILITIES = frozenset({0, 1, 2})


def refuse_repeated(values: Sequence[int | str], what: str, source: str) -> None:
    """Make sure that every value is there once.

    Raises:
        UserError: with `what` the values are, how many are repeated, and the first of these.
    """
    if repeated := repeated_values(values):
        raise UserError(_repeated_message(values, repeated, what, source))


def repeated_values(values: Iterable[ValueT]) -> dict[ValueT, int]:
    """The values that are there more than once, and how often."""
    return {value: count for value, count in Counter(values).items() if count > 1}


def tell_repeated(
    values: Sequence[ValueT],
    what: str,
    source: str,
    broken: BrokenRecords,
    *,
    reason: str,
    first_stays: bool = False,
) -> Collection[ValueT]:
    """The values that are there more than once, after `broken` was told of them.

    Args:
        values: one of each record.
        what: the values are.
        source: the file, for messages.
        broken: is told.
        reason: of `BrokenRecords.found`.
        first_stays: the first record of each value is not counted as broken.

    Raises:
        UserError: as `broken` does.
    """
    repeated = repeated_values(values)
    if repeated:
        count = sum(repeated.values()) - (len(repeated) if first_stays else 0)
        broken.found(reason, _repeated_message(values, repeated, what, source), count=count)
    return repeated


def _repeated_message(
    values: Sequence[ValueT], repeated: Mapping[ValueT, int], what: str, source: str
) -> str:
    """One line on repeated values, with the places of the first one's records in their list."""
    first = next(iter(repeated))
    places = [number for number, value in enumerate(values) if value == first]
    return (
        f"{source}: {what} used more than once: {describe_ids(list(repeated))}; {one_line(first)}"
        f" is that of records {places[0]} and {places[1]} (from 0); remove all but one, or give"
        " them one of their own"
    )


def of_one_id_each(
    images: Sequence[ImageT], source: str, broken: BrokenRecords
) -> Sequence[ImageT]:
    """The images whose id is theirs alone; nobody can tell which one the others' people are in."""
    ids = [image.id for image in images]
    repeated = tell_repeated(ids, "image id", source, broken, reason="image: repeated id")
    return [image for image in images if image.id not in repeated] if repeated else images


def without_repeats(
    records: list[CocoAnnotation], source: str, broken: BrokenRecords
) -> list[CocoAnnotation]:
    """The records without those whose id an earlier one has."""
    ids = [record.id for record in records]
    reason = "annotation: repeated id"
    if not tell_repeated(ids, "annotation id", source, broken, reason=reason, first_stays=True):
        return records
    firsts: dict[int, CocoAnnotation] = {}
    for record in records:
        firsts.setdefault(record.id, record)
    return list(firsts.values())


def orphans_of(
    records: Iterable[CocoAnnotation], image_ids: Collection[object]
) -> list[CocoAnnotation]:
    """The records of no image that is there."""
    return [record for record in records if record.image_id not in image_ids]


def without_orphans(
    records: list[CocoAnnotation], image_ids: Collection[int], source: str, broken: BrokenRecords
) -> list[CocoAnnotation]:
    """The records whose image is there."""
    orphans = orphans_of(records, image_ids)
    if not orphans:
        return records
    message = (
        f"{source}: {count_records('annotation', [record.id for record in orphans])} with an"
        f" image_id that 'images' lacks, the first one {orphans[0].image_id}; remove them or"
        " add the images"
    )
    broken.found("annotation: image_id of no image", message, count=len(orphans))
    return [record for record in records if record.image_id in image_ids]


def with_right_keypoints(
    records: list[CocoAnnotation], person: CocoCategory, source: str, broken: BrokenRecords
) -> list[CocoAnnotation]:
    """The records without persons whose keypoints are not x, y, v each."""
    wrong = set()
    for record in records:
        if record.category_id == person.id and (problem := keypoints_problem(record, person)):
            message = f"{source}: annotation {record.id}: {problem.text}; mend or remove the record"
            broken.found(f"annotation: {problem.reason}", message)
            wrong.add(record.id)
    return [record for record in records if record.id not in wrong] if wrong else records


class KeypointsProblem(NamedTuple):
    """What is wrong with a person's keypoints.

    Attributes:
        reason: in few words, the same for all that break the rule.
        text: in full.
    """

    reason: str
    text: str


def keypoints_problem(record: CocoAnnotation, person: CocoCategory) -> KeypointsProblem | None:
    """Why keypoints are not x, y, v each; None for right ones and where there are none at all."""
    numbers = record.keypoints or []
    names = person.keypoints or [str(k + 1) for k in range(len(numbers) // 3)]
    if numbers and len(numbers) != 3 * len(names):
        text = (
            f"'keypoints' has {len(numbers)} numbers, {len(names)} keypoints need"
            f" {3 * len(names)} (x, y, v each)"
        )
        return KeypointsProblem("wrong number of keypoints", text)
    if _VISIBILITIES.issuperset(numbers[2::3]):
        return None
    name, v = next(
        (name, v) for name, v in zip(names, numbers[2::3], strict=True) if v not in _VISIBILITIES
    )
    text = f"keypoint '{one_line(name)}' has v = {v:g}; allowed are 0, 1 and 2"
    return KeypointsProblem("v that is not 0, 1 or 2", text)
