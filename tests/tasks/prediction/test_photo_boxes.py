"""The person boxes that a COCO JSON gives for photos."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cpn.data.image_files import read_image
from cpn.errors import UserError
from cpn.tasks.prediction.photo_boxes import PhotoBoxes, read_boxes, read_photo
from tests.conftest import with_exif_orientation
from tests.tasks.box_files import box, box_file


def test_only_usable_boxes_of_persons_are_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = [box(1), box(1, category_id=2), box(1, iscrowd=1), box(1, width=0), box(1, width=-1)]
    categories = [{"id": 2, "name": "dog"}, {"id": 1, "name": "person"}]
    file = box_file(tmp_path, ["a.jpg"], records, categories=categories)
    with caplog.at_level("INFO"):
        found = read_boxes(file, tmp_path, [tmp_path / "a.jpg"])
    assert found[tmp_path / "a.jpg"].boxes_xyxy.tolist() == [[1, 0, 11, 20]]
    assert (
        "1 person boxes; dropped: 2 x box without area, 1 x crowd, 1 x other category"
        in caplog.text
    )


@pytest.mark.parametrize(
    ("categories", "person"),
    [
        ([{"id": 1, "name": "person"}, {"id": 2, "name": "x", "keypoints": ["nose"]}], 1),
        ([{"id": 1, "name": "dog"}, {"id": 2, "name": "x", "keypoints": ["nose"]}], 2),
        ([{"id": 2, "name": "pedestrian"}], 2),
    ],
)
def test_the_person_category(tmp_path: Path, categories: Any, person: int) -> None:
    records = [box(1, 1, width=1), box(1, 2, width=2)]
    file = box_file(tmp_path, ["a.jpg"], records, categories=categories)
    found = read_boxes(file, tmp_path, [tmp_path / "a.jpg"])[tmp_path / "a.jpg"]
    assert found.boxes_xyxy.tolist() == [[1, 0, 1 + person, 20]]


@pytest.mark.parametrize("categories", [[], [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]])
def test_an_unclear_person_category_is_refused(tmp_path: Path, categories: Any) -> None:
    file = box_file(tmp_path, ["a.jpg"], [box(1, 1), box(1, 2)], categories=categories)
    with pytest.raises(UserError, match="which category is the person is unclear"):
        read_boxes(file, tmp_path, [tmp_path / "a.jpg"])


def test_photos_are_matched_by_path_before_base_name(tmp_path: Path) -> None:
    names = ["val/a.jpg", "a.jpg", "val/b.jpg"]
    file = box_file(tmp_path, names, [box(1), box(2), box(3)])
    paths = [tmp_path / "a.jpg", tmp_path / "b.jpg", tmp_path / "c.jpg"]
    found = read_boxes(file, tmp_path, paths)
    assert [found[path].boxes_xyxy[:, 0].tolist() for path in paths] == [[2], [3], []]
    alone = read_boxes(file, paths[1], [paths[1]])[paths[1]]
    assert alone.boxes_xyxy[:, 0].tolist() == [3]


def test_ambiguous_base_names_are_refused(tmp_path: Path) -> None:
    file = box_file(tmp_path, ["train/a.jpg", "val/a.jpg"], [box(1), box(2)])
    message = r"a.jpg may be any of its 2 images \['train/a.jpg', 'val/a.jpg'\]; leave one of them"
    with pytest.raises(UserError, match=message):
        read_boxes(file, tmp_path, [tmp_path / "a.jpg"])


def test_only_boxes_of_the_photos_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = box_file(tmp_path, ["a.jpg", "x.jpg"], [box(1), box(2), box(2, iscrowd=1)])
    with caplog.at_level("INFO"):
        read_boxes(file, tmp_path, [tmp_path / "a.jpg", tmp_path / "b.jpg", tmp_path / "c.jpg"])
    assert "1 person boxes; dropped: nothing" in caplog.text
    assert f"2 of 3 photos are not in boxes={file}" in caplog.text


def test_image_ids_must_be_clear(tmp_path: Path) -> None:
    paths = [tmp_path / "a.jpg"]
    with pytest.raises(UserError, match=r"boxes\.json: image ids not in its 'images': 1 \(7\)"):
        read_boxes(box_file(tmp_path, ["a.jpg"], [box(7)]), tmp_path, paths)
    file = box_file(tmp_path, [], [], images=[{"id": 1, "file_name": name} for name in "ab"])
    with pytest.raises(UserError, match=r"boxes\.json: image id used more than once: 1 \(1\)"):
        read_boxes(file, tmp_path, paths)


def test_detections_are_told_from_annotations(tmp_path: Path) -> None:
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps([box(1, score=0.5)]))
    with pytest.raises(
        UserError, match=r"boxes\.json: a list, as detections are; needed is a COCO"
    ):
        read_boxes(file, tmp_path, [tmp_path / "a.jpg"])


def test_what_is_no_person_is_not_checked(tmp_path: Path) -> None:
    records = [box(1), {"image_id": 1, "category_id": 2}]
    categories = [{"id": 2, "name": "dog"}, {"id": 1, "name": "person"}]
    file = box_file(tmp_path, ["a.jpg"], records, categories=categories)
    found = read_boxes(file, tmp_path, [tmp_path / "a.jpg"])
    assert found[tmp_path / "a.jpg"].boxes_xyxy.tolist() == [[1, 0, 11, 20]]


def test_a_broken_box_file_is_refused(tmp_path: Path) -> None:
    file = box_file(tmp_path, ["a.jpg"], [{"image_id": 1, "category_id": 1}])
    with pytest.raises(UserError, match=r"boxes\.json.*bbox"):
        read_boxes(file, tmp_path, [tmp_path / "a.jpg"])


@pytest.mark.parametrize(
    ("size_wh", "is_upright"), [(None, True), ((48, 64), True), ((64, 48), False), ((0, 0), True)]
)
def test_boxes_of_the_stored_pixels_keep_the_photo_as_stored(
    sideways: Path,
    size_wh: tuple[int, int] | None,
    is_upright: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = box_file(sideways.parent, ["phone.jpg"], [box(1)], size_wh=size_wh)
    boxes = read_boxes(file, sideways, [sideways])[sideways]
    with caplog.at_level("WARNING"):
        photo = read_photo(sideways, boxes)
    assert photo.shape == ((64, 48, 3) if is_upright else (48, 64, 3))
    assert ("phone.jpg: its boxes are for the stored pixels" in caplog.text) != is_upright


def test_boxes_of_another_size_are_refused(sideways: Path) -> None:
    file = box_file(sideways.parent, ["phone.jpg"], [box(1)], size_wh=(9, 8))
    boxes = read_boxes(file, sideways, [sideways])[sideways]
    message = r"phone\.jpg: its boxes are of a photo of 9 x 8 .*, it has 48 x 64; give the photo"
    with pytest.raises(UserError, match=message):
        read_photo(sideways, boxes)


@pytest.mark.parametrize(
    ("orientation", "side"), [(1, 64), (2, 64), (3, 64), (4, 64), (6, 48), (8, 48)]
)
@pytest.mark.parametrize("stated", [True, False])
def test_boxes_are_of_the_stored_pixels_where_turning_keeps_the_size(
    tmp_path: Path,
    orientation: int,
    side: int,
    stated: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "a.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (48, side, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), noise)
    path.write_bytes(with_exif_orientation(path.read_bytes(), orientation))
    file = box_file(tmp_path, ["a.jpg"], [box(1)], size_wh=(side, 48) if stated else None)
    given = read_boxes(file, path, [path])[path]
    np.testing.assert_array_equal(read_photo(path, given), read_image(path))
    assert ("a.jpg: its boxes are for the stored pixels" in caplog.text) == (orientation != 1)
    upright = read_image(path, upright=True)
    np.testing.assert_array_equal(read_photo(path, None), upright)
    np.testing.assert_array_equal(read_photo(path, PhotoBoxes(np.zeros((0, 4)), (9, 9))), upright)
