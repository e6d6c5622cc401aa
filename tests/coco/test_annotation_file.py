"""What is the same for training, evaluation and prediction: the checks of COCO files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cpn.coco.annotation_file import (
    AnnotationFile,
    CocoFile,
    person_category,
    read_annotation_file,
    read_detection_file,
    required_area,
)
from cpn.coco.records import CocoCategory, CocoImage
from cpn.errors import UserError

Document = dict[str, Any]
Change = Callable[[Document], object]


def small_document() -> Document:
    """Two persons of two keypoints in image 7, a car in image 9."""
    person = {"image_id": 7, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 50}
    return {
        "images": [{"id": 7}, {"id": 9}],
        "annotations": [
            {"id": 2, "keypoints": [1, 1, 2, 2, 2, 1]} | person,
            {"id": 3} | person,
            {"id": 4, "image_id": 9, "category_id": 3, "bbox": [0, 0, 9, 9], "keypoints": [1]},
        ],
        "categories": [
            {"id": 1, "name": "person", "keypoints": ["tip", "tail"]},
            {"id": 3, "name": "car", "keypoints": None},
        ],
    }


def read(document: Document, category_id: int | None = None) -> AnnotationFile[CocoImage]:
    return read_annotation_file(document, CocoFile[CocoImage], category_id=category_id)


def test_a_file_and_a_document_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(small_document()))
    file, document = read_annotation_file(path, CocoFile[CocoImage]), read(small_document())
    assert (file.source, document.source) == (str(path), "annotations")
    assert (file.person, file.images, file.annotations) == (
        *(document.person, document.images),
        document.annotations,
    )
    assert list(file.images) == [7, 9]
    assert [record.id for record in file.annotations] == [2, 3, 4]
    assert file.person.id == 1


def test_the_category_can_be_given() -> None:
    document = small_document()
    del document["annotations"][2]["keypoints"]
    assert read(document, category_id=3).person.name == "car"
    with pytest.raises(UserError, match=r"category 2 once, .* \[\(1, 'person'\), \(3, 'car'\)\]"):
        read(document, category_id=2)
    document["categories"][0]["id"] = 3
    with pytest.raises(UserError, match="expected category 3 once"):
        read(document, category_id=3)


def annotation(index: int, **values: object) -> Change:
    return lambda document: document["annotations"][index].update(values)


BROKEN: dict[str, tuple[Change, str]] = {
    "repeated image": (lambda d: d["images"].append({"id": 7}), r"image id used more .*: 1 \(7\)"),
    "repeated annotation": (annotation(1, id=2), r"annotation id used more than once: 1 \(2\)"),
    "unknown image": (
        annotation(1, image_id=8),
        r"1 annotation \(id 3\) with an image_id that 'images' lacks, the first one 8; remove them",
    ),
    "other category of unknown image": (annotation(2, image_id=8), r"1 annotation \(id 4\) with"),
    "short keypoints": (
        annotation(0, keypoints=[1, 2, 2]),
        r"annotation 2: 'keypoints' has 3 numbers, 2 keypoints need 6 \(x, y, v each\)",
    ),
    "v of 3": (
        annotation(0, keypoints=[1, 1, 2, 1, 1, 3]),
        "annotation 2: keypoint 'tail' has v = 3; allowed are 0, 1 and 2",
    ),
    "v of 1.5 of a crowd": (
        annotation(0, keypoints=[1, 1, 1.5, 1, 1, 2], iscrowd=1),
        "annotation 2: keypoint 'tip' has v = 1.5",
    ),
    "NaN keypoint": (
        annotation(0, keypoints=[1, float("nan"), 2, 1, 1, 2]),
        r"at annotations\[0\]\.keypoints\[1\] \(id 2\): not a finite number",
    ),
    "short box": (annotation(0, bbox=[1, 2, 3]), r"length 4, got 3 \(value: \[1, 2, 3\]\)"),
    "no box": (annotation(1, bbox=None), r"at annotations\[1\]\.bbox \(id 3\): Expected `array`"),
    "infinite area": (annotation(0, area=float("inf")), r"area \(id 2\): not a finite number"),
    "negative area": (annotation(0, area=-1.0), r"area \(id 2\): Expected `float` >= 0\.0"),
    "crowd of 2": (annotation(0, iscrowd=2), r"iscrowd \(id 2\): Expected `int` <= 1"),
    "huge id": (annotation(0, id=2**63), r"id \(id 9.*\): Expected `int` <= 9223372036854775807"),
    "half an id": (annotation(0, id=1.5), r"id \(id 1\.5\): Expected `int`, got `float`"),
    "other category without id": (
        lambda d: d["annotations"][2].pop("id"),
        r"at annotations\[2\] \(image_id 9\): Object missing required field `id`",
    ),
    "mistyped category of a record": (annotation(2, category_id="3"), r"category_id \(id 4\)"),
    "mistyped category": (
        lambda d: d["categories"][1].update(id="3"),
        r"at categories\[1\]\.id \(id '3'\)",
    ),
    "no annotations": (lambda d: d.pop("annotations"), "missing required field `annotations`"),
    "no categories": (
        lambda d: d.update(categories=[]),
        r"which category .* unclear among .* \[\]",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_refused(name: str) -> None:
    change, message = BROKEN[name]
    document = small_document()
    change(document)
    with pytest.raises(UserError, match=rf"^annotations: .*{message}"):
        read(document)


@pytest.mark.parametrize("keypoints", [None, []])
def test_a_person_may_have_no_keypoints(keypoints: object) -> None:
    document = small_document()
    document["annotations"][0]["keypoints"] = keypoints
    assert read(document).annotations[0].keypoints == keypoints


@pytest.mark.parametrize("broken", [{"bbox": []}, {"area": -3}, {"keypoints": [[1, 2, 2]]}])
@pytest.mark.parametrize("category_id", [None, 1])
def test_what_is_no_person_is_not_checked(
    tmp_path: Path, broken: Document, category_id: int | None
) -> None:
    document = small_document()
    document["annotations"][2] = {"id": 4, "image_id": 9, "category_id": 3} | broken
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(document))
    for source in (path, document):
        file = read_annotation_file(source, CocoFile[CocoImage], category_id=category_id)
        assert [record.id for record in file.annotations] == [2, 3, 4]


def test_limbs_are_not_checked_where_none_is_drawn() -> None:
    document = small_document()
    document["categories"][0]["skeleton"] = [["tip", "tail"]]
    assert read(document).person.id == 1


@pytest.mark.parametrize("image_id", [-(2**63), -1, 2**63 - 1])
def test_ids_are_those_of_int64(image_id: int) -> None:
    document = small_document()
    document["images"][0]["id"] = image_id
    for record in document["annotations"][:2]:
        record["image_id"] = image_id
    assert list(read(document).images) == [image_id, 9]


def test_whole_numbers_may_be_floats_or_numpy_s(tmp_path: Path) -> None:
    document = small_document()
    document["annotations"][0] |= {"image_id": 7.0, "iscrowd": 0.0, "num_keypoints": 2.0}
    document["annotations"][1] |= {"iscrowd": None}
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(document))
    expected = read_annotation_file(path, CocoFile[CocoImage]).annotations
    assert type(expected[0].image_id) is int
    document["annotations"][0] |= {"image_id": np.int64(7), "bbox": np.array([0, 0, 9, 9])}
    assert read(document).annotations == expected


@pytest.mark.parametrize("iscrowd", [0, 1, False, True])
def test_crowds_are_told_by_numbers_or_truth_values(iscrowd: object) -> None:
    document = small_document()
    document["annotations"][0]["iscrowd"] = iscrowd
    assert read(document).annotations[0].iscrowd == iscrowd


def test_keypoints_without_names_are_triples() -> None:
    document = small_document()
    del document["categories"][0]["keypoints"]
    assert read(document).person.id == 1
    document["annotations"][0]["keypoints"][5] = 4
    with pytest.raises(UserError, match="annotation 2: keypoint '2' has v = 4"):
        read(document)
    document["annotations"][0]["keypoints"] = [1, 1, 2, 5]
    with pytest.raises(UserError, match="annotation 2: 'keypoints' has 4 numbers"):
        read(document)


def category(category_id: int, name: str, *keypoints: str) -> CocoCategory:
    return CocoCategory(category_id, name, list(keypoints))


@pytest.mark.parametrize(
    ("categories", "for_keypoints", "for_boxes"),
    [
        ([category(4, "somebody")], 4, 4),
        ([category(4, "car"), category(1, "person")], 1, 1),
        ([category(4, "dog", "nose"), category(1, "person", "nose")], 1, 1),
        ([category(4, "dog"), category(1, "walker", "nose")], 1, 1),
        # The person cannot be estimated there, the hand can.
        ([category(4, "hand", "thumb"), category(1, "person")], 4, 1),
    ],
)
def test_the_person_category(
    categories: list[CocoCategory], for_keypoints: int, for_boxes: int
) -> None:
    assert person_category(categories, "", with_keypoints=True).id == for_keypoints
    assert person_category(categories, "", with_keypoints=False).id == for_boxes


@pytest.mark.parametrize(
    "categories",
    [
        [],
        [category(1, "cat"), category(2, "dog")],
        [category(1, "cat", "nose"), category(2, "dog", "nose")],
        [category(1, "person"), category(2, "person")],
        [category(1, "person", "nose"), category(2, "person", "nose")],
    ],
)
@pytest.mark.parametrize("with_keypoints", [True, False])
def test_an_unclear_person_category_is_refused(
    categories: list[CocoCategory], *, with_keypoints: bool
) -> None:
    message = r"gt\.json: which category is the person is unclear among .*; call exactly one of"
    with pytest.raises(UserError, match=message):
        person_category(categories, "gt.json", with_keypoints=with_keypoints)


def test_the_area_is_asked_for() -> None:
    _, person, car = read(small_document()).annotations
    assert required_area(person, "gt.json") == 50
    with pytest.raises(UserError, match=r"gt\.json: annotation 4 has no 'area', which OKS divides"):
        required_area(car, "gt.json")


def test_detections_from_a_file_and_from_records(tmp_path: Path) -> None:
    records = [{"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(records))
    found = read_detection_file(path, image_ids={7}, annotations="gt.json")
    assert found == read_detection_file(records, image_ids={7}, annotations="gt.json")
    assert list(found[0].bbox) == [1, 2, 3, 4]
    with pytest.raises(UserError, match=r"boxes\.json: image ids not in gt\.json: 1 \(7\)"):
        read_detection_file(path, image_ids={8}, annotations="gt.json")
    with pytest.raises(UserError, match=r"^detections: at \[0\]\.score \(image_id 7\): not a fin"):
        read_detection_file(
            [records[0] | {"score": float("nan")}], image_ids={7}, annotations="gt.json"
        )
