"""A photo through detector and pose network."""

from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

import cpn
from cpn.demo.uploads import RefusedError
from cpn.errors import UserError
from cpn.prediction.estimator import EstimatedPoses, PoseEstimator
from tests.demo.cases import FixedDetector, analyst_of, file_of, photo, shown

BOXES = ([4.0, 4.0, 40.0, 60.0], [50.0, 10.0, 90.0, 64.0], [0.0, 0.0, 20.0, 20.0])
PNG = file_of(photo(), ".png")


def test_poses_are_those_of_the_predictor(checkpoint: Path) -> None:
    detector = FixedDetector(*BOXES)
    found = analyst_of(checkpoint, detector)(PNG)
    predicted = cpn.Predictor.from_checkpoint(checkpoint, detector=detector, device="cpu")(photo())
    assert found.size_wh == (96, 64)
    assert len(found.people) == 3
    for shown_person, person in zip(found.people, predicted.people, strict=True):
        assert shown_person.box_score == person.box_score
        np.testing.assert_array_equal(shown_person.box_xyxy, person.box_xyxy)
        np.testing.assert_array_equal(shown_person.keypoints, person.keypoints)
        np.testing.assert_array_equal(shown_person.scores, person.scores)
    assert shown(found.picture).shape == (64, 96, 3)
    assert min(found.timing) >= 0
    assert found.timing.pose > 0


def test_who_was_found_twice_is_shown_once_with_the_right_crop(checkpoint: Path) -> None:
    left, right, _ = BOXES
    analyst = analyst_of(checkpoint, FixedDetector(left, left, right))
    people = analyst(PNG).people
    assert len(people) == 2
    for person in people:
        drawn, _ = analyst.one_person(PNG, person.box_xyxy)
        np.testing.assert_array_equal(person.crop, drawn.crop)


def test_without_a_detector_the_photo_is_one_person(checkpoint: Path) -> None:
    (person,) = analyst_of(checkpoint)(PNG).people
    assert person.box_xyxy.tolist() == [0, 0, 96, 64]
    assert person.box_score is None


def test_nobody_is_no_error(checkpoint: Path) -> None:
    found = analyst_of(checkpoint, FixedDetector())(PNG)
    assert found.people == []


def test_a_panorama_and_a_single_pixel(checkpoint: Path) -> None:
    for size_wh in ((33_000, 24), (1, 1), (1, 900)):
        (person,) = analyst_of(checkpoint)(file_of(photo(*size_wh), ".png")).people
        assert np.isfinite(person.keypoints).all()


def test_a_drawn_box_is_clipped_to_the_photo(checkpoint: Path) -> None:
    analyst = analyst_of(checkpoint, FixedDetector())
    person, timing = analyst.one_person(PNG, np.array([-50.0, 10.0, 40.0, 500.0]))
    assert person.box_xyxy.tolist() == [0, 10, 40, 64]
    assert timing.detection == 0


@pytest.mark.parametrize(
    "box",
    [
        [10, 10, 13, 60],
        [10, 10, 5, 60],
        [200, 10, 300, 60],
        [np.nan, 0, 50, 50],
        [0, 0, np.inf, -np.inf],
    ],
)
def test_a_drawn_box_needs_something_of_the_photo(checkpoint: Path, box: list[float]) -> None:
    with pytest.raises(RefusedError, match="at least 4 pixels of the photo on each side") as error:
        analyst_of(checkpoint).one_person(PNG, np.array(box, dtype=np.float64))
    assert error.value.status == 400


def test_heatmaps_are_of_what_the_network_saw(checkpoint: Path) -> None:
    analyst = analyst_of(checkpoint, FixedDetector(*BOXES))
    first, second, _ = analyst(PNG).people
    assert first.crop.shape == (64, 64, 3)
    stages = analyst.stages(first)
    assert [stage.name for stage in stages] == ["P5", "P4", "P3", "P2", "RefineNet"]
    assert not np.array_equal(stages[-1].maps, analyst.stages(second)[-1].maps)


def test_a_diverged_network_is_said(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = PoseEstimator.__call__

    def diverged(self: PoseEstimator, *given: object) -> EstimatedPoses:
        poses = whole(self, *given)  # type: ignore[arg-type]
        poses.points_image[0, 3, 1] = np.nan
        return poses

    monkeypatch.setattr(PoseEstimator, "__call__", diverged)
    with pytest.raises(UserError, match="not finite; the model has diverged"):
        analyst_of(checkpoint)(PNG)


def test_warming_up_uses_both_networks(checkpoint: Path) -> None:
    class Broken(FixedDetector):
        def __call__(self, images_rgb: object) -> NoReturn:  # noqa: ARG002
            raise UserError("the detector is broken")

    analyst = analyst_of(checkpoint, Broken())
    with pytest.raises(UserError, match="the detector is broken"):
        analyst.warm_up()
