"""All broken records at once, by the rules of the reader that stops at the first one."""

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cpn.coco.annotation_file import CocoFile, read_annotation_file
from cpn.coco.records import CocoPhoto
from cpn.coco.salvage import Salvage, salvage_annotation_file
from cpn.coco.strict_json import Flaw
from cpn.data.annotations import read_keypoint_names
from cpn.errors import UserError

Document = dict[str, Any]
Change = Callable[[Document], object]


def document() -> Document:
    """Photos 1 to 3; persons 11 to 14 of two keypoints, 14 in photo 3; a car, 15."""
    person = {"category_id": 1, "bbox": [0, 0, 9, 9], "keypoints": [1, 1, 2, 2, 2, 1]}
    size = {"width": 20, "height": 10}
    return {
        "images": [{"id": i, "file_name": f"{i}.jpg"} | size for i in (1, 2, 3)],
        "annotations": [
            *({"id": 10 + i, "image_id": min(i, 3)} | copy.deepcopy(person) for i in range(1, 5)),
            {"id": 15, "image_id": 3, "category_id": 2, "bbox": [0, 0, 1, 1]},
        ],
        "categories": [
            {"id": 1, "name": "person", "keypoints": ["tip", "tail"]},
            {"id": 2, "name": "car"},
        ],
    }


def salvage(tmp_path: Path, *changes: Change) -> Salvage:
    content = document()
    for change in changes:
        change(content)
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(content))
    return salvage_annotation_file(path)


def annotation(index: int, **values: object) -> Change:
    return lambda content: content["annotations"][index].update(values)


def image(index: int, **values: object) -> Change:
    return lambda content: content["images"][index].update(values)


def test_a_sound_file_comes_back_whole(tmp_path: Path) -> None:
    found = salvage(tmp_path)
    read = read_annotation_file(tmp_path / "gt.json", CocoFile[CocoPhoto])
    assert found.file == read
    assert found.flaws == []
    assert [category.name for category in found.categories] == ["person", "car"]


BROKEN: dict[str, tuple[Change, Flaw, list[int]]] = {
    "short box": (
        annotation(0, bbox=[1, 2, 3]),
        Flaw("annotation", 11, "'bbox': Expected `array` of length 4, got 3", "[1, 2, 3]"),
        [12, 13, 14, 15],
    ),
    "NaN": (
        annotation(1, bbox=[1, 2, float("nan"), 3]),
        Flaw("annotation", 12, "'bbox': not a finite number", "nan"),
        [11, 13, 14, 15],
    ),
    "NaN where nothing is read": (
        annotation(1, segmentation=[float("inf")]),
        Flaw("annotation", 12, "'segmentation': not a finite number", "inf"),
        [11, 13, 14, 15],
    ),
    "no id": (
        lambda content: content["annotations"][2].pop("id"),
        Flaw(
            *("annotation", "#3 of the list", "Object missing required field `id`"),
            "{'bbox': [0, 0, 9, 9], 'category_id': 1, 'image_id': 3, 'keypoints': [1, 1, 2, 2, 2, "
            "1]}",
        ),
        [11, 12, 14, 15],
    ),
    "v of 3": (
        annotation(0, keypoints=[1, 1, 2, 2, 2, 3]),
        Flaw("annotation", 11, "keypoint 'tail' has v = 3; allowed are 0, 1 and 2", ""),
        [12, 13, 14, 15],
    ),
    "repeated id": (
        annotation(1, id=11),
        Flaw("annotation", 11, "'id' used more than once", ""),
        [11, 13, 14, 15],
    ),
    "orphan": (
        annotation(1, image_id=8),
        Flaw("annotation", 12, "'image_id' that 'images' lacks", "8"),
        [11, 13, 14, 15],
    ),
    "image of no width, told without its person": (
        image(0, width=0),
        Flaw("image", 1, "'width': Expected `int` >= 1", "0"),
        [12, 13, 14, 15],
    ),
    "repeated photo": (
        image(1, file_name="1.jpg"),
        Flaw("image", 2, "'file_name' used by another image too", "'1.jpg'"),
        [11, 13, 14, 15],
    ),
    "repeated image": (
        lambda content: content["images"].append(content["images"][0] | {"file_name": "4.jpg"}),
        Flaw("image", 1, "'id' used more than once", ""),
        [11, 12, 13, 14, 15],
    ),
}


@pytest.mark.parametrize(("change", "flaw", "left"), BROKEN.values(), ids=BROKEN)
def test_broken_records_are_told_and_the_others_kept(
    tmp_path: Path, change: Change, flaw: Flaw, left: list[int]
) -> None:
    found = salvage(tmp_path, change)
    assert found.flaws == [flaw]
    assert [record.id for record in found.file.annotations] == left
    with pytest.raises(UserError):  # the strict reader agrees
        read_keypoint_names(tmp_path / "gt.json")


def test_all_are_told_at_once(tmp_path: Path) -> None:
    changes = (annotation(0, bbox=None), annotation(1, id="x"), annotation(2, area=-1.0))
    flaws = salvage(tmp_path, *changes, image(2, height=1.5)).flaws
    assert {(flaw.kind, flaw.record_id) for flaw in flaws} == {
        *(("annotation", 11), ("annotation", "x"), ("annotation", 13), ("image", 3)),
    }


def test_what_is_no_person_may_be_broken(tmp_path: Path) -> None:
    found = salvage(tmp_path, annotation(4, bbox="none", keypoints=[1]), annotation(0, area="1"))
    assert [flaw.record_id for flaw in found.flaws] == [11]


def test_a_whole_float_is_an_integer_as_for_the_strict_reader(tmp_path: Path) -> None:
    found = salvage(tmp_path, annotation(0, id=11.0), annotation(1, bbox=[]))
    assert [flaw.record_id for flaw in found.flaws] == [12]
    assert found.file.annotations[0].id == 11


WHOLE: dict[str, tuple[str, str]] = {
    "no JSON": ("{", "not valid JSON"),
    "no list": ('{"images": [], "categories": []}', "missing required field `annotations`"),
    "a list": ("[]", "Expected `object`, got `array`"),
    "no person": ('{"images": [], "annotations": [], "categories": []}', "which category is"),
}


@pytest.mark.parametrize(("text", "message"), WHOLE.values(), ids=WHOLE)
def test_a_file_without_lists_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "gt.json").write_text(text)
    with pytest.raises(UserError, match=rf"gt\.json: .*{message}"):
        salvage_annotation_file(tmp_path / "gt.json")


NASTY: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2.5, 7.0, "7", "", [], [1, 2, 3, 4], {}, float("nan"), 1e300, 2**70),
    *([1, 1, 2, 2, 2, 9], [0.0] * 6, [[1]], "../x.jpg", "1.jpg"),
)
KEYS = {
    "images": ("id", "file_name", "width", "height", "licence"),
    "annotations": (
        *("id", "image_id", "category_id", "bbox", "area", "iscrowd", "keypoints"),
        *("num_keypoints", "segmentation"),
    ),
}


@pytest.mark.parametrize("seed", range(300))
def test_a_flaw_is_told_where_the_strict_reader_refuses(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    content = document()
    for _ in range(rng.choice([1, 1, 3])):
        records = rng.choice(list(KEYS))
        rng.choice(content[records])[rng.choice(KEYS[records])] = rng.choice(NASTY)
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(content))
    try:
        read_keypoint_names(path)
        refused = False
    except UserError:
        refused = True
    assert bool(salvage_annotation_file(path).flaws) == refused
