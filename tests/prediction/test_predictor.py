"""Boxes to poses, with an estimator that can be calculated: every keypoint is its crop's centre."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
import torch

from cpn.config.data_schema import InputConfig
from cpn.config.schema import PostprocessConfig
from cpn.detection.detections import Detections
from cpn.engine.precision import inference_precision
from cpn.errors import UserError
from cpn.geometry.crop import invert_matrix, transform_points
from cpn.prediction.estimator import EstimatedPoses, PoseEstimator
from cpn.prediction.predictor import Predictor
from cpn.skeleton import COCO_17

PHOTO = np.zeros((60, 80, 3), np.uint8)


class CentreEstimator:
    """Its keypoints are all in the middle of the crop; scores are the crop's brightness."""

    skeleton = COCO_17

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.model = torch.nn.Module()
        self.model.register_buffer("pixel_mean", torch.zeros(3))

    def __call__(self, crops: torch.Tensor, image_to_crop: torch.Tensor) -> EstimatedPoses:
        n, _, height, width = crops.shape
        self.batches.append(n)
        middle = np.broadcast_to([(width - 1) / 2, (height - 1) / 2], (n, 17, 2))
        scores = np.repeat(crops.double().amax(dim=(1, 2, 3)).numpy()[:, None] / 255, 17, axis=1)
        points = transform_points(invert_matrix(image_to_crop.numpy()), middle)
        return EstimatedPoses(points, scores, scores / 2)


def predictor(
    detector: Any = None, *, batch_size: int = 32, nms: str = "oks"
) -> tuple[Predictor, CentreEstimator]:
    estimator = CentreEstimator()
    crop = InputConfig(height=64, width=32, margin=1.25)
    rules = {"score": "box_keypoint", "keypoint_threshold": 0.2, "nms": nms, "nms_threshold": 0.9}
    made = Predictor(
        cast("PoseEstimator", estimator),
        crop,
        PostprocessConfig.model_validate(rules),
        detector=detector,
        batch_size=batch_size,
    )
    return made, estimator


def bright(value: int) -> np.ndarray:
    return np.full((60, 80, 3), value, np.uint8)


def test_a_box_gives_a_person() -> None:
    poses = predictor()[0](bright(204), [[10, 20, 30, 50]])
    (person,) = poses.people
    assert person.keypoints == pytest.approx(np.tile([19.5, 34.5], (17, 1)))
    assert person.scores == pytest.approx(np.full(17, 0.8), abs=0.01)
    assert person.box_xyxy.tolist() == [10, 20, 30, 50]
    assert person.box_score == 1
    assert person.score == pytest.approx(0.4, abs=0.01)  # box times mean of the rescoring scores
    assert person.track is None


def test_without_boxes_and_detector_the_photo_is_one_person() -> None:
    assert predictor()[0](PHOTO).boxes_xyxy.tolist() == [[0, 0, 80, 60]]


def test_nobody_in_the_photo() -> None:
    poses = predictor()[0](PHOTO, np.zeros((0, 4)))
    assert poses.keypoints.shape == (0, 17, 2)
    assert poses.scores.shape == (0, 17)
    assert poses.people == []


def test_people_of_all_photos_share_the_batches() -> None:
    made, estimator = predictor(batch_size=3)
    boxes = [np.tile([left, 0, left + 20, 40], (n, 1)) for left, n in ((0, 2), (0, 0), (40, 3))]
    poses = made.batch([bright(51), bright(102), bright(153)], boxes)
    assert estimator.batches == [3, 2]
    assert [len(each.people) for each in poses] == [2, 0, 3]
    assert poses[0].scores[:, 0] == pytest.approx([0.2, 0.2], abs=0.01)
    assert poses[2].scores[:, 0] == pytest.approx([0.6] * 3, abs=0.01)
    assert poses[2].keypoints[2, 0] == pytest.approx([49.5, 19.5])
    assert made.batch([]) == []


def find(*people: tuple[list[float], float]) -> Any:
    found = Detections(
        np.array([box for box, _ in people], dtype=np.float64).reshape(-1, 4),
        np.array([score for _, score in people], dtype=np.float64),
    )

    def detector(images_rgb: Sequence[Any]) -> list[Detections]:
        return [found] * len(images_rgb)

    return detector


LEFT, ALMOST_LEFT, RIGHT = [0.0, 0, 20, 40], [0.0, 0, 20, 40.5], [50.0, 0, 70, 40]


def test_the_detector_finds_the_people_and_nobody_twice() -> None:
    made, _ = predictor(find((LEFT, 0.5), (ALMOST_LEFT, 0.6), (RIGHT, 0.9)))
    poses = made(bright(255))
    assert poses.boxes_xyxy.tolist() == [RIGHT, ALMOST_LEFT]
    assert poses.box_scores.tolist() == [0.9, 0.6]
    assert poses.person_scores == pytest.approx([0.45, 0.3], abs=0.01)


def test_given_boxes_all_stay_as_they_are() -> None:
    made, _ = predictor(find())
    poses = made(bright(255), [LEFT, ALMOST_LEFT, RIGHT])
    assert poses.boxes_xyxy.tolist() == [LEFT, ALMOST_LEFT, RIGHT]


def test_the_detector_finds_nobody() -> None:
    assert predictor(find())[0](PHOTO).people == []


def test_what_is_wrong_with_the_input_is_told() -> None:
    made, _ = predictor()
    for image in (np.zeros((20, 30), np.uint8), np.zeros((20, 30, 3))):
        with pytest.raises(ValueError, match=r"image must be \(H, W, 3\) uint8"):
            made(cast("Any", image))
    with pytest.raises(ValueError, match="2 images, but boxes for 1"):
        made.batch([PHOTO, PHOTO], [[LEFT]])
    with pytest.raises(ValueError, match="box"):
        made(PHOTO, [[0, 0, np.nan, 4]])


def test_a_network_that_has_diverged_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    made, estimator = predictor()
    right = estimator.__call__

    def wrong(self: CentreEstimator, crops: Any, matrices: Any) -> EstimatedPoses:
        poses = right(crops, matrices)
        poses.points_image[1, 3, 0] = np.nan
        return poses

    monkeypatch.setattr(CentreEstimator, "__call__", wrong)
    with pytest.raises(
        UserError, match=r"1 of 2 poses have keypoints .* not finite; the model has"
    ):
        made(PHOTO, [LEFT, RIGHT])


def test_half_precision_is_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert inference_precision("auto", cpu) == "fp32"
    assert inference_precision("bf16", cpu) == "bf16"
    for has_bf16, name in ((True, "bf16"), (False, "fp16")):
        monkeypatch.setattr("cpn.engine.precision.computes_bf16", lambda _, has=has_bf16: has)
        assert inference_precision("auto", gpu) == name
