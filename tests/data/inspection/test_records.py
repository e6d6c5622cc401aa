from pathlib import Path
from typing import Any

import numpy as np

from cpn.coco.annotation_file import AnnotationFile
from cpn.coco.records import CocoAnnotation, CocoCategory, CocoPhoto
from cpn.coco.strict_json import Flaw
from cpn.data.inspection import Finding
from cpn.data.inspection.records import (
    describe_flaws,
    everybody,
    inspect_empty_photos,
    inspect_records,
)
from tests.data.inspection.people_of import told

PERSON = CocoCategory(id=1, name="person", keypoints=["tip", "tail"])
CAR = CocoCategory(id=3, name="car")


def record(number: int, **values: Any) -> CocoAnnotation:
    usual: dict[str, Any] = {
        "image_id": 7,
        "category_id": 1,
        "bbox": (1, 2, 9, 8),
        "area": 50.0,
        "keypoints": [1, 1, 2, 2, 2, 1],
        "num_keypoints": 2,
    }
    return CocoAnnotation(**(usual | {"id": number} | values))


def file_of(*records: CocoAnnotation) -> AnnotationFile[CocoPhoto]:
    photos = {i: CocoPhoto(id=i, file_name=f"{i}.jpg", width=20, height=10) for i in (7, 8)}
    return AnnotationFile("gt.json", PERSON, photos, list(records))


def inspect(*records: CocoAnnotation, needs_area: bool = True) -> list[Finding]:
    return inspect_records(file_of(*records), [PERSON], needs_area=needs_area)


def test_sound_records() -> None:
    assert inspect(record(1), record(2, num_keypoints=None)) == []


def test_flaws_alike_become_one_error() -> None:
    flaws = [
        Flaw("annotation", 4, "'bbox': wrong", "[1]"),
        Flaw("image", 4, "'bbox': wrong", ""),
        Flaw("annotation", "#2 of the list", "'bbox': wrong", "[2]"),
    ]
    first, second = describe_flaws(flaws)
    assert first.text == (
        "2 annotations (ids 4, #2 of the list): 'bbox': wrong (value: [1]); mend or remove them"
    )
    assert second.text == "1 image (id 4): 'bbox': wrong; mend or remove them"
    assert {first.severity, second.severity} == {"error"}


def test_crowds_are_noted() -> None:
    assert told(inspect(record(1), record(2, iscrowd=1))) == [("note", (2,), "crowds (iscrowd =")]


def test_a_false_number_of_keypoints_is_told() -> None:
    found = inspect(record(1, num_keypoints=1), record(2, num_keypoints=0, keypoints=None))
    assert told(found) == [("warning", (1,), "'num_keypoints' is not")]


def test_coordinates_without_visibility_are_told() -> None:
    unlabelled = record(1, keypoints=[1, 1, 0, 2, 2, 0], num_keypoints=0)
    nothing = record(2, keypoints=[0] * 6, num_keypoints=0)
    assert told(inspect(unlabelled, nothing)) == [("warning", (1,), "keypoints have coordinates,")]


def test_an_area_is_needed_for_evaluation() -> None:
    bare = record(5, area=None)
    assert told(inspect(bare, record(6))) == [("error", (5,), "there is no")]
    assert inspect(bare, needs_area=False) == []


def test_other_categories_are_counted_by_name() -> None:
    file = file_of(record(1), record(2, category_id=3), record(3, category_id=3))
    (finding,) = inspect_records(file, [PERSON, CAR], needs_area=True)
    assert finding.severity == "note"
    assert finding.text == (
        "the people are category 1 'person'; annotations of others are left out: 2 x car"
    )
    (unknown,) = inspect_records(file, [PERSON], needs_area=True)
    assert (unknown.severity, unknown.advice[-5:]) == ("warning", "2 x 3")


def test_a_second_category_with_keypoints_is_a_warning() -> None:
    dog = CocoCategory(id=3, name="dog", keypoints=["nose"])
    (finding,) = inspect_records(file_of(record(1)), [PERSON, dog], needs_area=True)
    assert finding.severity == "warning"


def test_photos_without_people_are_noted() -> None:
    file = file_of(record(1), record(2, image_id=8, category_id=3))
    assert told(inspect_empty_photos(file)) == [("note", (8,), "nobody is annotated")]
    assert inspect_empty_photos(file_of(record(1), record(2, image_id=8, iscrowd=1))) == []


def test_everybody_is_who_is_no_crowd() -> None:
    people = everybody(
        file_of(
            *(record(1), record(2, iscrowd=1), record(3, category_id=3)),
            *(record(4, bbox=(1, 2, 0, 0), area=None), record(5, keypoints=None)),
        ),
        Path("photos"),
    )
    assert people.annotation_ids.tolist() == [1, 4, 5]
    assert np.isnan(people.areas).tolist() == [False, True, False]
    assert people.keypoints[..., 2].tolist() == [[2, 1], [2, 1], [0, 0]]
    assert people.image_sizes_hw[0].tolist() == [10, 20]
