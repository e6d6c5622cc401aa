from pathlib import Path

import pytest

from cpn.coco.annotation_file import CocoFile
from cpn.coco.records import CocoBox, CocoImage, describe_dropped, split_usable, unusable_reason
from cpn.coco.strict_json import read_json


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (CocoBox(image_id=1, category_id=1, bbox=(0, 0, 1, 1)), ""),
        (CocoBox(image_id=1, category_id=2, bbox=(0, 0, 1, 1), iscrowd=1), "other category"),
        (CocoBox(image_id=1, category_id=1, bbox=(0, 0, 1, 1), iscrowd=1), "crowd"),
        (CocoBox(image_id=1, category_id=1, bbox=(0, 0, 1, 1), iscrowd=True), "crowd"),
        (CocoBox(image_id=1, category_id=1, bbox=(0, 0, 1, 0)), "box without area"),
        (CocoBox(image_id=1, category_id=1, bbox=(0, 0, -1, 1)), "box without area"),
    ],
)
def test_why_a_box_is_not_used(record: CocoBox, reason: str) -> None:
    assert unusable_reason(record, 1) == reason


def test_the_usable_are_kept_and_the_others_counted() -> None:
    good = CocoBox(image_id=1, category_id=1, bbox=(0, 0, 1, 1))
    crowd = CocoBox(image_id=1, category_id=1, bbox=(0, 0, 1, 1), iscrowd=1)
    other = CocoBox(image_id=1, category_id=2, bbox=(0, 0, 1, 1))
    kept, dropped = split_usable([crowd, good, other, other], 1)
    assert kept == [good]
    assert describe_dropped(dropped) == "1 x crowd, 2 x other category"
    assert describe_dropped({"crowd": 0}) == "nothing"


def test_unknown_fields_and_masks_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "extra.json"
    path.write_text(
        '{"info": 1, "images": [], "categories": [], "annotations": [{"id": 1, "image_id": 1,'
        '"category_id": 1, "bbox": [0, 0, 1, 1], "segmentation": {"counts": "?", "size": "?"}}]}'
    )
    assert read_json(path, CocoFile[CocoImage]).annotations[0].id == 1
