"""Photos in, keypoints and pictures out."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import cpn
from cpn.data.image_files import read_image
from cpn.detection.detections import Detections
from cpn.errors import UserError
from cpn.evaluation.results import read_results
from cpn.tasks.predict import predict
from tests.tasks.box_files import box, box_file
from tests.tasks.predictions import MakePredictConfig as MakeConfig
from tests.tasks.predictions import PretendedDetector, files, lines, people_per_frame, read


def test_a_folder_without_boxes_is_one_person_per_photo(
    predict_config: MakeConfig, tiny_coco: Any
) -> None:
    written = predict(predict_config(tiny_coco.images))
    records = read(written)
    assert [record["file_name"] for record in records] == [f"{i:03d}.png" for i in (1, 2, 3, 4)]
    assert records[0]["bbox"] == [0, 0, 64, 48]
    assert len(records[0]["keypoints"]) == 51
    image = cv2.imread(str(written.parent / "pictures" / "001.png.png"))
    assert image is not None
    assert image.shape == (48, 64, 3)


def test_boxes_give_one_record_per_person(predict_config: MakeConfig, tiny_coco: Any) -> None:
    records = read(predict(predict_config(tiny_coco.images, boxes=tiny_coco.annotations)))
    assert [record["file_name"] for record in records] == [
        *("001.png", "002.png", "003.png", "003.png", "004.png", "004.png")
    ]
    assert list(records[0]) == ["file_name", "bbox", "keypoints", "score"]
    assert records[1]["bbox"] == [4.0, 4.0, 26.0, 40.0]
    confidences = records[1]["keypoints"][2::3]
    assert records[1]["score"] == pytest.approx(np.mean(confidences))


def test_the_files_of_photos_go_together(predict_config: MakeConfig, tiny_coco: Any) -> None:
    out = predict(predict_config(tiny_coco.images, boxes=tiny_coco.annotations)).parent
    assert files(out) == [
        *("frames.jsonl", "images.json", "pictures", "predictions.json", "results.json")
    ]
    results, predictions, photos = (
        read(out / f"{name}.json") for name in ("results", "predictions", "images")
    )
    assert [result["image_id"] for result in results] == [1, 2, 3, 3, 4, 4]
    assert {result["category_id"] for result in results} == {1}
    for result, prediction in zip(results, predictions, strict=True):
        assert result["keypoints"] == prediction["keypoints"]
        assert result["bbox"] == prediction["bbox"]
    assert photos[2] == {"id": 3, "file_name": "003.png", "width": 64, "height": 48}
    assert lines(out)[2]["frame"] == 2
    assert lines(out)[2]["time"] is None
    assert lines(out)[2]["people"][1]["score"] == results[3]["score"]
    assert lines(out)[2]["people"][1]["track"] is None


def test_the_results_can_be_scored(predict_config: MakeConfig, tiny_coco: Any) -> None:
    out = predict(predict_config(tiny_coco.images, boxes=tiny_coco.annotations, draw=False)).parent
    results = read_results(
        out / "results.json", image_ids=[1, 2, 3, 4], category_id=1, num_keypoints=17
    )
    assert len(results) == 6
    assert files(out) == ["frames.jsonl", "images.json", "predictions.json", "results.json"]


def test_image_ids_and_category_are_those_of_the_boxes(
    predict_config: MakeConfig, tiny_coco: Any
) -> None:
    document = tiny_coco.read()
    document["images"] = [image for image in document["images"] if image["id"] != 2]
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] != 2]
    for image in document["images"]:
        image["id"] += 40
    for annotation in document["annotations"]:
        annotation["image_id"] += 40
        annotation["category_id"] = 7
    document["categories"][0]["id"] = 7
    tiny_coco.write(document)
    out = predict(predict_config(tiny_coco.images, boxes=tiny_coco.annotations, draw=False)).parent
    assert [photo["id"] for photo in read(out / "images.json")] == [41, 45, 43, 44]
    assert [r["image_id"] for r in read(out / "results.json")] == [41, 43, 43, 44, 44]
    assert {r["category_id"] for r in read(out / "results.json")} == {7}


def test_the_python_way_gives_the_same(
    predict_config: MakeConfig, checkpoint: Path, tiny_coco: Any
) -> None:
    image_path = tiny_coco.images / "001.png"
    by_script = np.array(read(predict(predict_config(image_path)))[0]["keypoints"]).reshape(17, 3)
    poses = cpn.Predictor.from_checkpoint(checkpoint, device="cpu")(read_image(image_path))
    np.testing.assert_allclose(poses.keypoints[0], by_script[:, :2], atol=1e-9)
    np.testing.assert_allclose(poses.scores[0], by_script[:, 2], atol=1e-9)


@pytest.mark.parametrize("batch_images", [1, 3, 8])
def test_batches_change_nothing(
    predict_config: MakeConfig, tiny_coco: Any, batch_images: int
) -> None:
    boxes = tiny_coco.annotations
    one = predict_config(tiny_coco.images, boxes=boxes, batch_images=2, draw=False)
    other = predict_config(tiny_coco.images, boxes=boxes, batch_images=batch_images, draw=False)
    expected = read(predict(one))
    found = read(predict(other.model_copy(update={"out": f"{other.out}2"})))
    for a, b in zip(expected, found, strict=True):
        assert a["file_name"] == b["file_name"]
        np.testing.assert_allclose(a["keypoints"], b["keypoints"], atol=1e-3)


def test_a_detector_finds_the_people(
    predict_config: MakeConfig, tiny_coco: Any, detector: PretendedDetector
) -> None:
    limits = ("detections.score_threshold=0.35", "detections.max_people=5")
    chosen = predict_config(tiny_coco.images, *limits, detector="d.safetensors", batch_images=3)
    out = predict(chosen).parent
    assert detector.asked == [3, 1]
    path, options = detector.__dict__["made"]
    assert path == "d.safetensors"
    assert options == {
        "device": "cpu",
        "precision": "fp32",
        "score_threshold": 0.35,
        "max_people": 5,
    }
    assert people_per_frame(out) == [1, 2, 1, 2]
    scores = {p["bbox"][0]: p["box_score"] for p in lines(out)[1]["people"]}
    assert scores == {4.0: 0.9, 34.0: 0.8}


def test_nobody_found(
    predict_config: MakeConfig, tiny_coco: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = Detections(np.zeros((0, 4)), np.zeros(0))

    def find_nobody(images_rgb: Sequence[Any]) -> list[Detections]:
        return [nobody] * len(images_rgb)

    monkeypatch.setattr(
        "cpn.tasks.predict.TrainedDetector.from_checkpoint", lambda *_, **__: find_nobody
    )
    out = predict(predict_config(tiny_coco.images, detector="d")).parent
    assert read(out / "predictions.json") == []
    assert read(out / "results.json") == []
    assert people_per_frame(out) == [0, 0, 0, 0]
    shown = cv2.imread(str(out / "pictures" / "001.png.png"))
    np.testing.assert_array_equal(shown, cv2.imread(str(tiny_coco.images / "001.png")))


def test_sources_that_hold_no_image(predict_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jpg").write_text("not a photo")
    for source, message in (
        ("nowhere", "no such file or folder"),
        ("nowhere.mp4", "no such file"),
        ("empty", "no image there"),
        ("text.jpg", "text.jpg"),
    ):
        with pytest.raises(UserError, match=message):
            predict(predict_config(tmp_path / source))


def test_boxes_of_other_photos_are_refused(
    predict_config: MakeConfig, tiny_coco: Any, tmp_path: Path
) -> None:
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"images": [{"id": 1, "file_name": "x.jpg"}], "annotations": []}))
    with pytest.raises(UserError, match="none of its images is among the 4 given"):
        predict(predict_config(tiny_coco.images, boxes=boxes))


def test_a_photo_with_no_usable_box_has_nobody(
    predict_config: MakeConfig, tiny_coco: Any, tmp_path: Path
) -> None:
    file = box_file(tmp_path, ["001.png"], [box(1, width=0)])
    assert read(predict(predict_config(tiny_coco.images, boxes=file))) == []


def test_photos_of_one_stem_have_a_picture_each(predict_config: MakeConfig, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, size in (("a.png", 40), ("a.bmp", 50)):
        assert cv2.imwrite(str(photos / name), np.zeros((size, size, 3), np.uint8))
    out = predict(predict_config(photos)).parent
    for name, size in (("a.png", 40), ("a.bmp", 50)):
        shown = cv2.imread(str(out / "pictures" / f"{name}.png"))
        assert shown is not None
        assert shown.shape == (size, size, 3)


def test_a_photo_is_predicted_and_drawn_upright(predict_config: MakeConfig, sideways: Path) -> None:
    written = predict(predict_config(sideways))
    (record,) = read(written)
    assert record["bbox"] == [0, 0, 48, 64]
    shown = cv2.imread(str(written.parent / "pictures" / "phone.jpg.png"))
    assert shown is not None
    assert shown.shape == (64, 48, 3)
    assert np.median(shown[:, :12]) > 200
    assert np.median(shown[:, 20:]) < 50


def test_the_box_file_decides_in_prediction(predict_config: MakeConfig, sideways: Path) -> None:
    file = box_file(sideways.parent, ["phone.jpg"], [box(1)], size_wh=(64, 48))
    out = predict(predict_config(sideways, boxes=file)).parent
    shown = cv2.imread(str(out / "pictures" / "phone.jpg.png"))
    assert shown is not None
    assert shown.shape == (48, 64, 3)


def test_a_broken_photo_is_refused_or_left_out(
    predict_config: MakeConfig, tiny_coco: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (tiny_coco.images / "002.png").write_text("not a photo")
    with pytest.raises(UserError, match=r"002\.png: not a readable image"):
        predict(predict_config(tiny_coco.images))
    assert files(Path(predict_config("").out)) == []
    out = predict(predict_config(tiny_coco.images, on_error="skip")).parent
    assert "002.png: not a readable image" in caplog.text
    assert people_per_frame(out) == [1, 0, 1, 1]
    assert [line["problem"] for line in lines(out)] == [None, "photo: not readable", None, None]
    assert [r["image_id"] for r in read(out / "results.json")] == [1, 3, 4]
    assert files(out / "pictures") == ["001.png.png", "003.png.png", "004.png.png"]


def test_a_huge_photo_is_refused(predict_config: MakeConfig, tiny_coco: Any) -> None:
    with pytest.raises(UserError, match=r"more than max_megapixels=0\.003"):
        predict(predict_config(tiny_coco.images, max_megapixels=0.003))


def test_the_speed_is_told(
    predict_config: MakeConfig, tiny_coco: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        predict(predict_config(tiny_coco.images))
    assert "4 people in 4 photos in " in caplog.text
    assert "photos/s, " in caplog.text
    assert "people/s (reading " in caplog.text
