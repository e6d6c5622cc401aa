from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cpn.data.annotated_photos import EVERY_PHOTO, Wanted, read_annotated_photos
from cpn.errors import UserError
from tests.conftest import TinyCoco

Change = Callable[[dict[str, Any]], object]
SQUARE = [[4.0, 4.0, 30.0, 4.0, 30.0, 44.0, 4.0, 44.0]]


def _with_outlines(document: dict[str, Any]) -> None:
    for person in document["annotations"]:
        person["segmentation"] = SQUARE
    document["annotations"][3]["segmentation"] = [SQUARE[0], [0.0, 0.0, 2.0, 0.0, 2.0, 2.0]]


def _changed(data: TinyCoco, *changes: Change) -> Path:
    document = data.read()
    for change in changes:
        change(document)
    data.write(document)
    return data.annotations


def test_everybody_is_with_their_photo(tiny_coco: TinyCoco) -> None:
    photos = read_annotated_photos(
        _changed(tiny_coco, _with_outlines),
        tiny_coco.images,
        wanted=Wanted(masks=True, num_keypoints=17),
    )
    assert [photo.image_id for photo in photos] == [1, 2, 3, 4]
    assert [len(photo.boxes_xyxy) for photo in photos] == [1, 1, 2, 2]
    third = photos[2]
    assert third.image_path == tiny_coco.images / "003.png"
    assert third.image_size_hw == (48, 64)
    np.testing.assert_array_equal(third.boxes_xyxy, [[30, 4, 56, 44], [4, 4, 30, 44]])
    assert third.keypoints.shape == (2, 17, 3)
    # ids 3 and 4: each lacks the keypoint of its number
    assert [np.flatnonzero(person[:, 2] == 0).tolist() for person in third.keypoints] == [[3], [4]]
    assert [[len(ring) for ring in outline] for outline in third.outlines] == [[4], [4, 3]]
    np.testing.assert_array_equal(third.outlines[1][1], [[0, 0], [2, 0], [2, 2]])


def test_only_what_is_wanted_is_read(tiny_coco: TinyCoco) -> None:
    photos = read_annotated_photos(tiny_coco.annotations, tiny_coco.images)
    assert photos[3].outlines == [[], []]
    assert photos[3].keypoints.shape == (2, 0, 3)


def test_people_with_few_keypoints_have_none(tiny_coco: TinyCoco) -> None:
    wanted = Wanted(num_keypoints=17, min_keypoints=17)
    photos = read_annotated_photos(tiny_coco.annotations, tiny_coco.images, wanted=wanted)
    assert not photos.keypoints.any()


def _crowd(document: dict[str, Any]) -> None:
    document["annotations"][0]["iscrowd"] = 1


def test_crowds_are_nobody_and_empty_photos_a_choice(tiny_coco: TinyCoco) -> None:
    path = _changed(tiny_coco, _crowd)
    without = read_annotated_photos(path, tiny_coco.images)
    assert without.image_ids.tolist() == [2, 3, 4]
    wanted = Wanted(empty_photos=True)
    assert read_annotated_photos(path, tiny_coco.images, wanted=wanted).image_ids.tolist() == [
        *(2, 3, 4)
    ]
    everything = read_annotated_photos(path, tiny_coco.images, wanted=EVERY_PHOTO, limit=2)
    assert [len(photo.boxes_xyxy) for photo in everything] == [0, 1]


def test_a_photo_is_empty_only_if_nobody_is_annotated(tiny_coco: TinyCoco) -> None:
    path = _changed(tiny_coco, lambda document: document["annotations"].pop(0))
    wanted = Wanted(empty_photos=True)
    photos = read_annotated_photos(path, tiny_coco.images, wanted=wanted)
    assert [len(photo.boxes_xyxy) for photo in photos] == [0, 1, 2, 2]


def test_a_broken_mask_of_nobody_who_is_wanted_is_not_looked_at(tiny_coco: TinyCoco) -> None:
    def break_the_crowds(document: dict[str, Any]) -> None:
        document["annotations"][0].update(iscrowd=1, segmentation=[["x"]], id=1.0)

    path = _changed(tiny_coco, _with_outlines, break_the_crowds)
    photos = read_annotated_photos(path, tiny_coco.images, wanted=Wanted(masks=True))
    assert [len(each.outlines) for each in photos] == [1, 2, 2]


def test_boxes_end_at_the_edge(tiny_coco: TinyCoco) -> None:
    path = _changed(
        tiny_coco, lambda document: document["annotations"][0].update(bbox=[-4, 40, 10, 20])
    )
    photos = read_annotated_photos(path, tiny_coco.images)
    np.testing.assert_array_equal(photos[0].boxes_xyxy, [[0, 40, 6, 48]])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d["annotations"][0].update(bbox=[70, 0, 5, 5]), r"annotation 1 .*outside"),
        (lambda d: d["annotations"][2].pop("segmentation"), r"annotation 3 is missing.*mask"),
        (
            lambda d: d["annotations"][2].update(segmentation={"counts": "abc", "size": [48, 64]}),
            r"annotation 3 is run-length encoded",
        ),
        (
            lambda d: d["annotations"][1].update(segmentation=[[1, 2]]),
            r"'segmentation' of annotation 2: Expected .* detector\.mask_rcnn\.mask=null",
        ),
        (
            lambda d: d["annotations"][1].update(segmentation=[[1, 2, 3, 4, 5, 6, 7]]),
            r"annotation 2 has a polygon with an odd number",
        ),
        (lambda d: d["images"][1].update(file_name="nowhere.png"), r"missing in .*nowhere\.png"),
        (lambda d: d.update(annotations=[]), r"no photo with a person"),
    ],
)
def test_what_is_broken_is_told_in_a_line(tiny_coco: TinyCoco, change: Change, told: str) -> None:
    path = _changed(tiny_coco, _with_outlines, change)
    with pytest.raises(UserError, match=told) as caught:
        read_annotated_photos(path, tiny_coco.images, wanted=Wanted(masks=True))
    assert "\n" not in str(caught.value)


def test_other_keypoints_than_the_head_has_are_refused(tiny_coco: TinyCoco) -> None:
    wanted = Wanted(num_keypoints=16)
    with pytest.raises(UserError, match=r"has 17 keypoints, detector\..*=16"):
        read_annotated_photos(tiny_coco.annotations, tiny_coco.images, wanted=wanted)
