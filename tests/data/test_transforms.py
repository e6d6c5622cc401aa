from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cpn.data.augmentation import Augmentation
from cpn.data.persons import PersonInstance
from cpn.data.photometrics import apply_photometrics
from cpn.data.transforms import PersonTransform, TransformedPerson
from cpn.errors import UserError
from cpn.geometry.crop import crop_matrix, grow_box, invert_matrix, transform_points
from cpn.skeleton import COCO_17, Skeleton

INPUT_HW = (64, 48)
STILL = Augmentation(
    scale_range=(1.0, 1.0),
    rotation_probability=0.0,
    flip_probability=0.0,
    half_body_probability=0.0,
    brightness=0.0,
    contrast=0.0,
    saturation=0.0,
)


def _person(seed: int = 0) -> PersonInstance:
    """A person of 60 x 120 in a 200 x 160 (width x height) photo; v is 0, 1, 2, 0, 1, 2, …"""
    rng = np.random.default_rng(seed)
    points = rng.uniform([70, 20], [130, 140], (17, 2))
    keypoints = np.column_stack([points, np.arange(17) % 3])
    return PersonInstance(
        1, 1, Path("a.jpg"), (160, 200), np.array([70.0, 20.0, 60.0, 120.0]), keypoints, 5000.0
    )


def _image() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (160, 200, 3), dtype=np.uint8)


def _apply(augmentation: Augmentation | None, seed: int = 0) -> TransformedPerson:
    transform = PersonTransform(COCO_17, INPUT_HW, augmentation=augmentation)
    return transform(_image(), _person(), np.random.default_rng(seed))


def test_evaluation_follows_the_crop_rule_alone() -> None:
    person = _person()
    center, size = grow_box(person.box_xywh, aspect=0.75, margin=1.25)
    matrix = crop_matrix(center, size, INPUT_HW)
    found = PersonTransform(COCO_17, INPUT_HW)(_image(), person)
    np.testing.assert_array_equal(found.matrix, matrix)
    np.testing.assert_allclose(
        found.points, transform_points(matrix, person.keypoints[:, :2]), atol=1e-4
    )
    assert found.visibility.tolist() == person.keypoints[:, 2].tolist()
    assert found.crop.shape == (64, 48, 3)
    wanted = ["uint8", "float32", "int64", "float64", "float32", "int32"]
    assert [str(array.dtype) for array in found] == wanted


def test_an_augmentation_of_nothing_changes_nothing() -> None:
    for still, plain in zip(_apply(STILL), _apply(None), strict=True):
        np.testing.assert_array_equal(still, plain)


def test_the_defaults_are_those_of_the_config() -> None:
    root = Path(__file__).parents[2]
    values = yaml.safe_load((root / "configs/augment/cpn.yaml").read_text(encoding="utf-8"))
    values["scale_range"] = tuple(values["scale_range"])
    assert Augmentation(**values) == Augmentation()


def test_margin_enlarges_the_box() -> None:
    wide = PersonTransform(COCO_17, INPUT_HW, margin=2.5)(_image(), _person())
    np.testing.assert_allclose(wide.matrix[:, :2], _apply(None).matrix[:, :2] / 2)


def test_augmentation_needs_a_generator() -> None:
    with pytest.raises(ValueError, match="needs a random generator"):
        PersonTransform(COCO_17, INPUT_HW, augmentation=STILL)(_image(), _person())


@given(st.integers(0, 2**32))
@settings(max_examples=60, derandomize=True)
def test_points_come_back_within_a_thousandth_of_a_pixel(seed: int) -> None:
    person, transform = _person(), PersonTransform(COCO_17, INPUT_HW, augmentation=Augmentation())
    found = transform(_image(), person, np.random.default_rng(seed))
    back = transform_points(invert_matrix(found.matrix), found.points)
    flipped = np.linalg.det(found.matrix[:, :2]) < 0
    order = list(COCO_17.flip_permutation) if flipped else list(range(17))
    np.testing.assert_allclose(back, person.keypoints[order, :2], atol=1e-3)
    inside = ((found.points >= -0.5) & (found.points < [47.5, 63.5])).all(axis=1)
    expected = np.where(inside, person.keypoints[order, 2], 0)
    assert found.visibility.tolist() == expected.tolist()


@given(st.integers(0, 2**32), st.sampled_from([0, 9, 10]))
@settings(max_examples=60, derandomize=True)
def test_the_picture_goes_with_its_points(seed: int, keypoint: int) -> None:
    """A dot drawn on one keypoint of the photo is found at its (swapped) point of the crop."""
    person = _person()
    image = np.zeros((160, 200, 3), np.uint8)
    x, y = person.keypoints[keypoint, :2].round()
    person.keypoints[keypoint, :2] = x, y
    cv2.circle(image, (int(x), int(y)), 6, (255, 255, 255), -1, cv2.LINE_AA)
    augmentation = replace(Augmentation(), brightness=0.0, contrast=0.0, saturation=0.0)
    found = PersonTransform(COCO_17, INPUT_HW, augmentation=augmentation)(
        image, person, np.random.default_rng(seed)
    )
    flipped = np.linalg.det(found.matrix[:, :2]) < 0
    target = COCO_17.flip_permutation[keypoint] if flipped else keypoint
    place = found.points[target]
    assume(((place > 8) & (place < [39, 55])).all())  # else the border cuts the dot
    weights = found.crop[..., 0].astype(float)
    rows, columns = np.mgrid[:64, :48]
    centroid = np.array([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum()
    np.testing.assert_allclose(centroid, place, atol=0.3)


def test_flip_exchanges_points_and_visibility() -> None:
    plain, flipped = _apply(STILL), _apply(replace(STILL, flip_probability=1.0))
    permutation = list(COCO_17.flip_permutation)
    np.testing.assert_allclose(flipped.points[:, 0], 47 - plain.points[permutation, 0], atol=1e-4)
    np.testing.assert_allclose(flipped.points[:, 1], plain.points[permutation, 1], atol=1e-4)
    assert flipped.visibility.tolist() == plain.visibility[permutation].tolist()
    assert flipped.visibility.tolist() != plain.visibility.tolist()
    difference = flipped.crop[:, ::-1].astype(int) - plain.crop
    assert np.abs(difference).max() <= 8  # OpenCV interpolates in steps of 1/32 pixel


def _zoom(found: TransformedPerson) -> float:
    return float(np.sqrt(abs(np.linalg.det(found.matrix[:, :2]))))


def _angle(found: TransformedPerson) -> float:
    return float(np.rad2deg(np.arctan2(found.matrix[1, 0], found.matrix[1, 1])))


def test_scale_covers_its_range() -> None:
    augmentation = replace(STILL, scale_range=(0.7, 1.35))
    whole = _zoom(_apply(None))
    factors = [whole / _zoom(_apply(augmentation, seed)) for seed in range(200)]
    assert 0.7 <= min(factors) < 0.73
    assert 1.32 < max(factors) <= 1.35


def test_rotation_covers_its_range_with_its_probability() -> None:
    augmentation = replace(STILL, rotation_probability=0.4, rotation_degrees=45.0)
    angles = np.array([_angle(_apply(augmentation, seed)) for seed in range(300)])
    assert 0.3 < np.mean(angles != 0) < 0.5
    assert -45 <= angles.min() < -38
    assert 38 < angles.max() <= 45


def test_half_body_shows_one_half() -> None:
    person = _person()
    person.keypoints[:11, :2] = [[72 + k, 30 + k] for k in range(11)]
    person.keypoints[11:, :2] = [[100 + k, 100 + k] for k in range(6)]
    person.keypoints[:, 2] = 2
    augmentation = replace(STILL, half_body_probability=1.0)
    transform = PersonTransform(COCO_17, INPUT_HW, augmentation=augmentation)
    centers = set()
    for seed in range(20):
        found = transform(_image(), person, np.random.default_rng(seed))
        back = transform_points(invert_matrix(found.matrix), [[23.5, 31.5]])[0]
        centers.add((round(back[0], 3), round(back[1], 3)))
        # 1.5 times the half's longer side, taken to the aspect: upper 10 x 10, lower 5 x 5.
        side = 10 if back[1] < 60 else 5
        assert 48 / _zoom(found) == pytest.approx(1.5 * side)
    assert centers == {(77.0, 35.0), (102.5, 102.5)}


@pytest.mark.parametrize("labelled", [8, 17])
def test_half_body_only_of_persons_with_enough_keypoints(labelled: int) -> None:
    person = _person()
    person.keypoints[:, 2] = np.where(np.arange(17) < labelled, 2, 0)
    augmentation = replace(STILL, half_body_probability=1.0)
    found = PersonTransform(COCO_17, INPUT_HW, augmentation=augmentation)(
        _image(), person, np.random.default_rng(0)
    )
    is_whole = np.allclose(found.matrix, _apply(None).matrix)
    assert is_whole == (labelled == 8)


def test_half_body_of_keypoints_on_one_spot_stays_whole() -> None:
    person = _person()
    person.keypoints[:] = [80.0, 60.0, 2.0]
    augmentation = replace(STILL, half_body_probability=1.0)
    found = PersonTransform(COCO_17, INPUT_HW, augmentation=augmentation)(
        _image(), person, np.random.default_rng(0)
    )
    np.testing.assert_allclose(found.matrix, _apply(None).matrix)


def test_the_same_generator_gives_the_same_crop() -> None:
    everything = replace(Augmentation(), blur_probability=0.5, dropout_probability=0.5)
    transform = PersonTransform(COCO_17, INPUT_HW, augmentation=everything)
    first = [transform(_image(), _person(), np.random.default_rng(seed)) for seed in range(8)]
    again = [transform(_image(), _person(), np.random.default_rng(seed)) for seed in range(8)]
    for left, right in zip(first, again, strict=True):
        np.testing.assert_array_equal(left.crop, right.crop)
        np.testing.assert_array_equal(left.matrix, right.matrix)
        np.testing.assert_array_equal(left.colour, right.colour)
        np.testing.assert_array_equal(left.holes, right.holes)
    assert len({crop.crop.tobytes() for crop in first}) == 8
    assert len({crop.colour.tobytes() for crop in first}) == 8


def _shown(found: TransformedPerson) -> npt.NDArray[np.int64]:
    """The crop with what was drawn for it."""
    fields = (found.crop.transpose(2, 0, 1), found.colour, found.holes)
    batch = [torch.from_numpy(np.ascontiguousarray(field))[None] for field in fields]
    return apply_photometrics(*batch)[0].permute(1, 2, 0).long().numpy()


def test_dropout_and_blur_change_the_picture_but_no_point() -> None:
    plain = _apply(STILL)
    dropped = _apply(replace(STILL, dropout_probability=1.0))
    blurred = _apply(replace(STILL, blur_probability=1.0))
    assert (_shown(dropped) == 0).all(axis=-1).sum() > (_shown(plain) == 0).all(axis=-1).sum()
    assert blurred.crop.std() < 0.9 * plain.crop.std()
    np.testing.assert_array_equal(dropped.points, plain.points)


def test_holes_lie_in_the_crop_and_have_the_sizes_asked_for() -> None:
    always = replace(STILL, dropout_probability=1.0)
    found = [_apply(always, seed).holes for seed in range(40)]
    counts = {int(holes.any(axis=1).sum()) for holes in found}
    assert counts == {1, 2, 3, 4}
    drawn = np.concatenate([holes[holes.any(axis=1)] for holes in found])
    sides = drawn[:, 2:] - drawn[:, :2]
    assert (drawn[:, :2] >= 0).all()
    assert (drawn[:, 2:] <= INPUT_HW[::-1]).all()
    assert (sides >= 1).all()
    assert (sides <= 0.2 * np.array(INPUT_HW[::-1])).all()
    never = _apply(replace(STILL, dropout_probability=0.0)).holes
    assert not never.any()


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_each_colour_strength_changes_colours_only(name: str) -> None:
    strengths: dict[str, Any] = {name: 0.3}
    plain, changed = _apply(STILL), _apply(replace(STILL, **strengths))
    np.testing.assert_array_equal(changed.points, plain.points)
    difference = np.abs(_shown(changed) - plain.crop)
    assert 0 < difference.mean() < 60


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scale_range": (0.0, 1.0)}, "scale_range needs 0 < low <= high"),
        ({"scale_range": (1.2, 1.1)}, "scale_range needs 0 < low <= high"),
        ({"rotation_degrees": -1}, r"rotation_degrees must be in 0\.\.180, got -1"),
        ({"flip_probability": 1.1}, r"flip_probability must be in 0\.\.1, got 1\.1"),
        ({"half_body_probability": float("nan")}, "half_body_probability must be"),
        ({"saturation": 2}, "saturation must be"),
    ],
)
def test_impossible_settings_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augmentation(**values)


def test_flip_without_pairs_is_refused() -> None:
    skeleton = Skeleton(("left_hand", "right_hand"), (), (), (0.1, 0.1))
    message = r"'left_hand', 'right_hand'.*data\.flip_pairs.*augment\.flip_probability"
    with pytest.raises(UserError, match=message):
        PersonTransform(skeleton, INPUT_HW, augmentation=Augmentation())
    PersonTransform(skeleton, INPUT_HW, augmentation=replace(Augmentation(), flip_probability=0.0))
    PersonTransform(skeleton, INPUT_HW)


def test_flip_of_names_without_sides_is_fine() -> None:
    skeleton = Skeleton(("tip", "tail"), (), (), (0.1, 0.1))
    PersonTransform(skeleton, INPUT_HW, augmentation=Augmentation())
