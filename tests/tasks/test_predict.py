"""Photos in, keypoints and pictures out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import cpn
from cpn.config.schema import PredictConfig, TrainConfig
from cpn.data.image_files import read_image
from cpn.errors import UserError
from cpn.predictor import Poses
from cpn.tasks.predict import PhotoBoxes, predict, read_boxes, read_photo, to_records
from cpn.tasks.train import train
from tests.conftest import with_exif_orientation

MakeConfig = Callable[..., TrainConfig]


@pytest.fixture
def checkpoint(tiny_config: MakeConfig, tmp_path: Path) -> Path:
    train(tiny_config("engine.epochs=1"))
    return tmp_path / "runs" / "tiny" / "model.safetensors"


def predict_config(checkpoint: Path, **changes: Any) -> PredictConfig:
    values = {
        "checkpoint": str(checkpoint),
        "out": str(checkpoint.parent / "predictions"),
        "boxes": None,
        "keypoint_threshold": 0.3,
        "max_megapixels": 50,
        "batch_size": 2,
        "device": "cpu",
    }
    return PredictConfig(**{**values, **changes})


def test_a_folder_without_boxes_is_one_person_per_photo(checkpoint: Path, tiny_coco: Any) -> None:
    written = predict(predict_config(checkpoint, source=str(tiny_coco.images)))
    records = json.loads(written.read_text())
    assert [record["file_name"] for record in records] == [f"{i:03d}.png" for i in (1, 2, 3, 4)]
    assert records[0]["bbox"] == [0, 0, 64, 48]
    assert len(records[0]["keypoints"]) == 51
    picture = cv2.imread(str(written.parent / "pictures" / "001.png.png"))
    assert picture is not None
    assert picture.shape == (48, 64, 3)


def test_boxes_give_one_record_per_person(checkpoint: Path, tiny_coco: Any) -> None:
    config = predict_config(
        checkpoint, source=str(tiny_coco.images), boxes=str(tiny_coco.annotations)
    )
    records = json.loads(predict(config).read_text())
    assert [record["file_name"] for record in records] == [
        *("001.png", "002.png", "003.png", "003.png", "004.png", "004.png")
    ]
    assert records[1]["bbox"] == [4.0, 4.0, 26.0, 40.0]


def test_the_python_way_gives_the_same(checkpoint: Path, tiny_coco: Any) -> None:
    image_path = tiny_coco.images / "001.png"
    written = predict(predict_config(checkpoint, source=str(image_path)))
    by_script = np.array(json.loads(written.read_text())[0]["keypoints"]).reshape(17, 3)
    image = read_image(image_path)
    poses = cpn.Predictor.from_checkpoint(checkpoint, device="cpu")(image)
    np.testing.assert_allclose(poses.keypoints[0], by_script[:, :2], atol=1e-9)
    np.testing.assert_allclose(poses.scores[0], by_script[:, 2], atol=1e-9)


def test_nobody_in_the_photo(checkpoint: Path) -> None:
    poses = cpn.Predictor.from_checkpoint(checkpoint, device="cpu")(
        np.zeros((20, 30, 3), np.uint8), np.zeros((0, 4))
    )
    assert poses.keypoints.shape == (0, 17, 2)


@pytest.mark.parametrize("image", [np.zeros((20, 30), np.uint8), np.zeros((20, 30, 3))])
def test_what_is_no_image_is_refused(checkpoint: Path, image: Any) -> None:
    predictor = cpn.Predictor.from_checkpoint(checkpoint, device="cpu")
    with pytest.raises(ValueError, match=r"image must be \(H, W, 3\) uint8"):
        predictor(image)


def test_sources_that_hold_no_image(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jpg").write_text("not a photo")
    for source, message in (
        ("nowhere", "no such file or folder"),
        ("empty", "no image there"),
        ("text.jpg", "text.jpg"),
    ):
        with pytest.raises(UserError, match=message):
            predict(predict_config(checkpoint, source=str(tmp_path / source)))


def test_boxes_of_other_photos_are_refused(
    checkpoint: Path, tiny_coco: Any, tmp_path: Path
) -> None:
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"images": [{"id": 1, "file_name": "x.jpg"}], "annotations": []}))
    with pytest.raises(UserError, match="none of its images is among the 4 given"):
        predict(predict_config(checkpoint, source=str(tiny_coco.images), boxes=str(boxes)))


def box_file(
    folder: Path,
    names: list[str],
    annotations: list[dict[str, Any]],
    *,
    size_wh: tuple[int, int] | None = None,
    **more: Any,
) -> Path:
    """A COCO JSON with images 1, 2, ... of these names, of that size where it is given."""
    size = dict(zip(("width", "height"), size_wh, strict=True)) if size_wh else {}
    images = [{"id": index, "file_name": name, **size} for index, name in enumerate(names, 1)]
    path = folder / "boxes.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, **more}))
    return path


def box(image_id: int, category_id: int = 1, width: float = 10.0, **more: Any) -> dict[str, Any]:
    bbox = [image_id, 0, width, 20]
    return {"image_id": image_id, "category_id": category_id, "bbox": bbox, **more}


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


def test_a_photo_with_no_usable_box_has_nobody(
    checkpoint: Path, tiny_coco: Any, tmp_path: Path
) -> None:
    file = box_file(tmp_path, ["001.png"], [box(1, width=0)])
    written = predict(predict_config(checkpoint, source=str(tiny_coco.images), boxes=str(file)))
    assert json.loads(written.read_text()) == []


def test_a_broken_box_file_is_refused(tmp_path: Path) -> None:
    file = box_file(tmp_path, ["a.jpg"], [{"image_id": 1, "category_id": 1}])
    with pytest.raises(UserError, match=r"boxes\.json.*bbox"):
        read_boxes(file, tmp_path, [tmp_path / "a.jpg"])


def test_photos_of_one_stem_have_a_picture_each(checkpoint: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, size in (("a.png", 40), ("a.bmp", 50)):
        assert cv2.imwrite(str(photos / name), np.zeros((size, size, 3), np.uint8))
    out = predict(predict_config(checkpoint, source=str(photos))).parent
    for name, size in (("a.png", 40), ("a.bmp", 50)):
        picture = cv2.imread(str(out / "pictures" / f"{name}.png"))
        assert picture is not None
        assert picture.shape == (size, size, 3)


@pytest.fixture
def sideways(tmp_path: Path) -> Path:
    """A photo that is stored lying (64 x 48) and shown standing (48 x 64), its left edge white."""
    stored = np.zeros((48, 64, 3), np.uint8)
    stored[-16:] = 255  # EXIF orientation 6: turn clockwise, so the bottom becomes the left
    path = tmp_path / "photos" / "phone.jpg"
    path.parent.mkdir()
    assert cv2.imwrite(str(path), stored)
    path.write_bytes(with_exif_orientation(path.read_bytes(), 6))
    return path


def test_a_photo_is_predicted_and_drawn_upright(checkpoint: Path, sideways: Path) -> None:
    written = predict(predict_config(checkpoint, source=str(sideways), keypoint_threshold=1.0))
    (record,) = json.loads(written.read_text())
    assert record["bbox"] == [0, 0, 48, 64]
    picture = cv2.imread(str(written.parent / "pictures" / "phone.jpg.png"))
    assert picture is not None
    assert picture.shape == (64, 48, 3)
    assert picture[:, :12].min() > 200
    assert picture[:, 20:].max() < 50


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


def test_the_box_file_decides_in_prediction(checkpoint: Path, sideways: Path) -> None:
    file = box_file(sideways.parent, ["phone.jpg"], [box(1)], size_wh=(64, 48))
    out = predict(predict_config(checkpoint, source=str(sideways), boxes=str(file))).parent
    picture = cv2.imread(str(out / "pictures" / "phone.jpg.png"))
    assert picture is not None
    assert picture.shape == (48, 64, 3)


def test_poses_that_are_not_finite_are_refused() -> None:
    poses = Poses(np.zeros((2, 17, 2)), np.zeros((2, 17)), np.zeros((2, 4)))
    poses.keypoints[1, 3, 0] = np.nan
    with pytest.raises(UserError, match=r"a.jpg: 1 of 2 poses .* not finite; the model has"):
        to_records(Path("a.jpg"), poses)
