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
from cpn.tasks.predict import predict
from cpn.tasks.train import train

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
    picture = cv2.imread(str(written.parent / "pictures" / "001.png"))
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
