from dataclasses import replace

import cv2
import numpy as np
import pytest

from cpn.data.annotations import PersonAnnotations, read_person_annotations
from cpn.data.inspection import Finding, inspect_training_set
from tests.conftest import TinyCoco


def read(tiny_coco: TinyCoco) -> PersonAnnotations:
    return read_person_annotations(tiny_coco.annotations, tiny_coco.images, for_training=True)


def inspect(tiny_coco: TinyCoco, *, train_photos: bool = True) -> list[Finding]:
    found = inspect_training_set(read(tiny_coco), None, train_photos=train_photos)
    return [finding for finding in found if finding.severity != "note"]


def test_nothing_is_wrong(tiny_coco: TinyCoco) -> None:
    assert inspect(tiny_coco) == []


def test_a_photo_of_another_size_is_an_error_unless_a_cache_stands_for_it(
    tiny_coco: TinyCoco,
) -> None:
    assert cv2.imwrite(str(tiny_coco.images / "004.png"), np.zeros((9, 9, 3), np.uint8))
    (finding,) = inspect(tiny_coco)
    assert finding.severity == "error"
    assert "004.png: the image is 9 x 9" in finding.what
    assert inspect(tiny_coco, train_photos=False) == []


def test_left_out_people_are_a_warning_when_they_are_most(tiny_coco: TinyCoco) -> None:
    document = tiny_coco.read()
    for person in document["annotations"][:3]:
        person["keypoints"] = [0] * 51
    tiny_coco.write(document)
    assert inspect(tiny_coco) == []
    document["annotations"][3]["bbox"][2] = 0
    tiny_coco.write(document)
    (finding,) = inspect(tiny_coco)
    assert finding.what.endswith("tiny.json: 4 people are left out and 2 are used")


@pytest.mark.parametrize(("count", "told"), [(4, False), (5, True)])
def test_many_keypoints_outside_are_a_warning(tiny_coco: TinyCoco, count: int, told: bool) -> None:
    """Of 6 x 16 keypoints, 4 outside are 4 / 92 = 4.3 % and 5 are 5 / 91 = 5.5 %."""
    document = tiny_coco.read()
    for k in range(3, 3 + count):
        document["annotations"][0]["keypoints"][3 * k] = 500
    tiny_coco.write(document)
    assert [f"{count} labelled keypoints lie" in f.what for f in inspect(tiny_coco)] == [
        True
    ] * told


def test_flip_pairs_that_miss_are_a_warning(tiny_coco: TinyCoco) -> None:
    people = read_person_annotations(tiny_coco.annotations, tiny_coco.images, flip_pairs=[])
    found = inspect_training_set(people, None, train_photos=True)
    assert [f.what.split()[0] for f in found if f.severity == "warning"] == ["left_eye"]


def test_photos_of_both_splits_are_compared(tiny_coco: TinyCoco) -> None:
    train = read(tiny_coco)
    other = replace(train, path=tiny_coco.annotations.with_name("val.json"))
    val = replace(other, instances=train.instances[:2])
    found = inspect_training_set(train, val, train_photos=True)
    assert [(f.severity, f.ids) for f in found if f.severity != "note"] == [
        ("warning", ("001.png", "002.png")),
    ]


def test_the_validation_photos_are_looked_at_too(tiny_coco: TinyCoco) -> None:
    train = read(tiny_coco)
    val = replace(train, path=tiny_coco.annotations.with_name("val.json"))
    (tiny_coco.images / "002.png").write_bytes(b"")
    found = inspect_training_set(train, val, train_photos=False)
    assert ["002.png" in f.what for f in found if f.severity == "error"] == [True]
