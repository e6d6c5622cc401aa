"""What is left of a file whose broken records are left out, and what is counted."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cpn.coco.annotation_file import AnnotationFile, CocoFile, read_annotation_file
from cpn.coco.broken import BrokenRecords
from cpn.coco.records import CocoPhoto
from cpn.errors import UserError

Document = dict[str, Any]


def photo(image_id: Any, name: str = "", **changes: object) -> Document:
    name = name or f"{image_id}.jpg"
    return {"id": image_id, "file_name": name, "width": 64, "height": 48} | changes


def person(annotation_id: Any, image_id: Any = 1, **changes: object) -> Document:
    ids = {"id": annotation_id, "image_id": image_id, "category_id": 1}
    return ids | {"bbox": [1, 2, 3, 4], "keypoints": [1, 1, 2, 3, 3, 1], "area": 9} | changes


def write(path: Path, images: list[Any], annotations: list[Any]) -> Path:
    category = {"id": 1, "name": "person", "keypoints": ["tip", "tail"]}
    document = {"images": images, "annotations": annotations, "categories": [category]}
    path.write_text(json.dumps(document))
    return path


def read(path: Path) -> tuple[AnnotationFile[CocoPhoto], BrokenRecords]:
    broken = BrokenRecords(skip=True)
    return read_annotation_file(path, CocoFile[CocoPhoto], broken=broken), broken


def test_a_right_file_has_nothing_broken(tmp_path: Path) -> None:
    file, broken = read(write(tmp_path / "gt.json", [photo(1)], [person(1), person(2)]))
    assert [record.id for record in file.annotations] == [1, 2]
    assert (broken.counts, broken.first, file.left_out) == ({}, {}, 0)


RECORDS: dict[str, tuple[Any, str, str]] = {
    "NaN": (person(7, bbox=[0, 0, float("nan"), 1]), "annotation: wrong 'bbox'", "not a finite"),
    "infinite": (person(7, area=float("inf")), "annotation: wrong 'area'", "not a finite number"),
    "infinite where nothing is read": (
        person(7, segmentation=[float("inf")]),
        "annotation: wrong 'segmentation'",
        "not a finite number",
    ),
    "short box": (person(7, bbox=[1, 2]), "annotation: wrong 'bbox'", "length 4, got 2"),
    "no box": (
        {"id": 7, "image_id": 1, "category_id": 1},
        "annotation: no 'bbox'",
        "missing required field `bbox`",
    ),
    "text for a number": (person(7, area="9"), "annotation: wrong 'area'", "got `str`"),
    "truth for a number": (person(True), "annotation: wrong 'id'", "got `bool`"),
    "huge id": (person(2**63), "annotation: wrong 'id'", "Expected `int` <="),
    "no record": ([1, 2], "annotation: no JSON object", "Expected `object`, got `array`"),
    "nested": (person(7, keypoints=[[1, 2, 2]]), "annotation: wrong 'keypoints'", "got `array`"),
    "v of 3": (
        person(7, keypoints=[1, 1, 3, 0, 0, 0]),
        "annotation: v that is not 0, 1 or 2",
        "annotation 7: keypoint 'tip' has v = 3",
    ),
    "short keypoints": (
        person(7, keypoints=[1, 1, 2]),
        "annotation: wrong number of keypoints",
        "annotation 7: 'keypoints' has 3 numbers, 2 keypoints need 6",
    ),
    "repeated": (
        person(1),
        "annotation: repeated id",
        r"more than once: 1 (1); 1 is that of records",
    ),
    "orphan": (person(7, 99), "annotation: image_id of no image", "(id 7) with an image_id that"),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_broken_annotation_alone_is_left_out_by_the_rule_that_refuses_it(
    tmp_path: Path, name: str
) -> None:
    record, reason, message = RECORDS[name]
    path = write(tmp_path / "gt.json", [photo(1)], [person(1), record, person(2)])
    file, broken = read(path)
    assert [record.id for record in file.annotations] == [1, 2]
    assert (broken.counts, file.left_out) == ({reason: 1}, 1)
    (told,) = broken.first.values()
    assert told.startswith(f"{path}: ")
    assert message in told
    with pytest.raises(UserError) as refused:
        read_annotation_file(path, CocoFile[CocoPhoto])
    assert str(refused.value) == told


def test_each_reason_is_counted_and_its_first_record_told(tmp_path: Path) -> None:
    records = [
        person(1),
        *(person(number, bbox=None) for number in (2, 3, 4)),
        *(person(number, 99) for number in (5, 6)),
        person(7, keypoints=[1]),
        *(person(1) for _ in range(2)),
    ]
    file, broken = read(write(tmp_path / "gt.json", [photo(1)], records))
    assert [record.id for record in file.annotations] == [1]
    assert broken.counts == {
        "annotation: wrong 'bbox'": 3,
        "annotation: image_id of no image": 2,
        "annotation: wrong number of keypoints": 1,
        "annotation: repeated id": 2,
    }
    assert file.left_out == 8
    assert "annotations[1].bbox (id 2)" in broken.first["annotation: wrong 'bbox'"]


@pytest.mark.parametrize(
    ("images", "reason", "count"),
    [
        ([photo(1), photo(2, width=0)], "image: wrong 'width'", 1),
        ([photo(1), photo(2, height="48")], "image: wrong 'height'", 1),
        ([photo(1), {"id": 2}], "image: no 'file_name'", 1),
        ([photo(1), photo(2, "a\x00.jpg")], "image: wrong 'file_name'", 1),
        ([photo(1), photo(2), photo(2, "x.jpg")], "image: repeated id", 2),
    ],
)
def test_people_go_with_their_broken_image(
    tmp_path: Path, images: list[Any], reason: str, count: int
) -> None:
    people = [person(1, 1), person(2, 2), person(3, 2)]
    file, broken = read(write(tmp_path / "gt.json", images, people))
    assert list(file.images) == [1]
    assert [record.id for record in file.annotations] == [1]
    assert broken.counts == {reason: count, "annotation: image_id of no image": 2}
    assert file.left_out == 2


def test_half_characters_are_no_file_name(tmp_path: Path) -> None:
    """With NaN in the file it is read by Python, which lets half a character in."""
    images = [photo(1), photo(2, "\ud800.jpg")]
    _, broken = read(write(tmp_path / "gt.json", images, [person(1), person(2, area=float("nan"))]))
    assert broken.counts == {"image: wrong 'file_name'": 1, "annotation: wrong 'area'": 1}


def spoil(change: Callable[[Document], object]) -> Callable[[Path], object]:
    def rewrite(path: Path) -> None:
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return rewrite


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.write_text("{"), "not valid JSON"),
        (lambda path: path.write_text('["\\ud800"]'), "not valid JSON"),
        (lambda path: path.write_text("[1]"), "Expected `object`, got `array`"),
        (spoil(lambda d: d.pop("images")), "missing required field `images`"),
        (spoil(lambda d: d.update(annotations={"1": 2})), "at annotations: Expected `array`"),
        (spoil(lambda d: d["categories"][0].update(id="1")), r"at categories\[0\]\.id"),
        (spoil(lambda d: d.update(categories=[])), "which category is the person is unclear"),
    ],
)
def test_what_is_wrong_with_the_whole_file_is_refused(
    tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    path = write(tmp_path / "gt.json", [photo(1)], [person(1), person(2, bbox=None)])
    change(path)
    with pytest.raises(UserError, match=rf"gt\.json: .*{message}"):
        read(path)


def test_a_document_is_read_as_a_file_is(tmp_path: Path) -> None:
    records = [person(1), person(2, area=float("nan")), person(3.0)]
    path = write(tmp_path / "gt.json", [photo(1)], records)
    broken = BrokenRecords(skip=True)
    document = json.loads(path.read_text())
    file = read_annotation_file(document, CocoFile[CocoPhoto], broken=broken)
    assert [record.id for record in file.annotations] == [1, 3]
    assert broken.counts == {"annotation: wrong 'area'": 1} == read(path)[1].counts


def test_of_others_than_persons_only_ids_count(tmp_path: Path) -> None:
    car = {"id": 8, "image_id": 1, "category_id": 3, "bbox": "none"}
    broken_car = {"image_id": 1, "category_id": 3}
    records = [person(1), car, broken_car, person(2, bbox=[])]
    file, broken = read(write(tmp_path / "gt.json", [photo(1)], records))
    assert [record.id for record in file.annotations] == [1, 8]
    assert broken.counts == {"annotation: no 'id'": 1, "annotation: wrong 'bbox'": 1}
