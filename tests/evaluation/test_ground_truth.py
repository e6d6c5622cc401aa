import json
import logging
from pathlib import Path
from typing import Any

import pytest

from cpn.errors import UserError
from cpn.evaluation import read_ground_truth
from cpn.skeleton import COCO_17

Document = dict[str, Any]


def test_file_and_document_give_the_same(document: Document, tmp_path: Path) -> None:
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(document))
    from_file, from_document = read_ground_truth(path), read_ground_truth(document)
    assert from_file.persons == from_document.persons
    assert from_file.image_ids == (7, 9)
    assert from_file.category_id == 1
    assert from_file.keypoint_names == COCO_17.keypoint_names
    assert from_file.source == str(path)


def test_labelled_keypoints_are_counted(document: Document) -> None:
    truth = read_ground_truth(document)
    assert [person.num_keypoints for person in truth.persons] == [17, 17, 17, 0, 0]


def test_a_wrong_num_keypoints_is_counted_anew_with_a_warning(
    document: Document, caplog: pytest.LogCaptureFixture
) -> None:
    document["annotations"][1]["num_keypoints"] = 0
    with caplog.at_level(logging.WARNING):
        truth = read_ground_truth(document)
    assert truth.to_coco()["annotations"][1]["num_keypoints"] == 17
    assert "keypoints in 1 annotation (id 2);" in caplog.text


def test_other_categories_are_left_out(document: Document) -> None:
    document["annotations"].append(
        {"id": 50, "image_id": 7, "category_id": 3, "bbox": [0, 0, 1, 1], "area": 1}
    )
    assert len(read_ground_truth(document).persons) == 5


def test_ids_are_remapped_to_positive_ones(document: Document) -> None:
    document["annotations"][2]["id"] = 0
    ids = [annotation["id"] for annotation in read_ground_truth(document).to_coco()["annotations"]]
    assert ids == [1, 2, 3, 4, 5]


def test_restriction_to_images(document: Document) -> None:
    truth = read_ground_truth(document).restrict(image_ids=[7])
    assert truth.image_ids == (7,)
    assert [person.id for person in truth.persons] == [1, 2]


def test_restriction_to_annotations_keeps_their_images(document: Document) -> None:
    truth = read_ground_truth(document).restrict(annotation_ids={2})
    assert truth.image_ids == (7,)
    assert [person.id for person in truth.persons] == [2]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"image_ids": [7, 8]}, r"annotations: no image with these ids: 1 \(8\)"),
        ({"annotation_ids": [99]}, r"annotations: no annotation with these ids: 1 \(99\)"),
    ],
)
def test_unknown_restrictions_are_refused(
    document: Document, wanted: dict[str, list[int]], message: str
) -> None:
    truth = read_ground_truth(document)
    with pytest.raises(UserError, match=message):
        truth.restrict(**wanted)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("area", float("nan"), r"area \(id 2\): not a finite number"),
        ("area", None, r"annotation 2 has no 'area', which OKS divides by; add the area"),
        ("bbox", [0.0, 1.0, 2.0], r"bbox \(id 2\): Expected `array` of length 4"),
        ("keypoints", [1.0, 2.0, 3.0], r"annotation 2: 'keypoints' has 3 numbers, 17 .* need 51"),
        ("keypoints", "nose", r"at annotations\[1\]\.keypoints \(id 2\): Expected .*'nose'"),
        ("id", 1, r"annotation id used more than once: 1 \(1\)"),
        ("image_id", 8, r"1 annotation \(id 2\) with an image_id that 'images' lacks, .* 8;"),
    ],
)
def test_bad_annotations_are_refused(
    document: Document, field: str, value: object, message: str
) -> None:
    document["annotations"][1][field] = value
    with pytest.raises(UserError, match=rf"^annotations: .*{message}"):
        read_ground_truth(document)


def test_the_person_category_is_the_one_with_keypoints_or_the_given_one(document: Document) -> None:
    hand = {"id": 4, "name": "hand", "keypoints": ["thumb"]}
    categories = [hand, {"id": 1, "name": "person"}]
    assert read_ground_truth(document | {"categories": categories}).category_id == 4
    assert read_ground_truth(document, category_id=3).category_id == 3
    with pytest.raises(UserError, match="expected category 2 once, the file has"):
        read_ground_truth(document, category_id=2)
