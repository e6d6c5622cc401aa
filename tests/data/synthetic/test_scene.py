import numpy as np
import pytest

from cpn.data.synthetic.body import draw_figure
from cpn.data.synthetic.camera import Camera, view_rotation
from cpn.data.synthetic.figure import (
    JOINT_INDEX,
    JOINTS,
    Array,
    keypoints,
    pose_figure,
    sample_build,
)
from cpn.data.synthetic.raster import Canvas, Paint
from cpn.data.synthetic.scene import PlacedFigure, label_keypoints, place_people, render_scene
from cpn.data.synthetic.shapes import Capsule
from cpn.data.synthetic.wardrobe import sample_outfit
from cpn.skeleton import COCO_17

CAMERA = Camera(300.0, (240, 320))
PAINT = Paint((9, 9, 9), (9, 9, 9))
NAMES = COCO_17.keypoint_names
FACE = ("nose", "left_eye", "right_eye")
BODY = tuple(name for name in NAMES if name.split("_")[-1] not in ("nose", "eye", "ear"))


def standing(azimuth: float, x: float = 0.0, z: float = 3.2) -> PlacedFigure:
    """A figure with short hair, arms a little apart, whose pelvis is at (x, 0, z)."""
    rng = np.random.default_rng(3)
    outfit = sample_outfit(rng)._replace(
        haircut="short", headgear="none", beard=False, backpack=None, legwear="trousers"
    )
    pose = np.zeros((len(JOINTS), 3))
    pose[[JOINT_INDEX["left_shoulder"], JOINT_INDEX["right_shoulder"]], 2] = 20
    figure = pose_figure(sample_build(rng), pose)
    placed = figure.moved(view_rotation(azimuth, 0, 0), np.array([x, 0.0, z]))
    return PlacedFigure(placed, outfit, keypoints(placed))


def labelled(*people: PlacedFigure) -> list[dict[str, Array]]:
    canvas = Canvas(CAMERA, np.array([0.0, 0.0, -1.0]))
    for index, person in enumerate(people):
        draw_figure(canvas, person.figure, person.outfit, index)
    return [
        dict(zip(NAMES, label_keypoints(canvas, person, index), strict=True))
        for index, person in enumerate(people)
    ]


def visibilities(points: dict[str, Array]) -> dict[str, int]:
    return {name: int(v) for name, (_, _, v) in points.items()}


@pytest.mark.parametrize("azimuth", [-15, 0, 15])
def test_a_frontal_view_shows_everything(azimuth: float) -> None:
    assert set(visibilities(labelled(standing(azimuth))[0]).values()) == {2}


def test_a_view_of_the_back_leaves_out_the_face_only() -> None:
    seen = visibilities(labelled(standing(180))[0])
    assert {seen[name] for name in FACE} == {0}
    assert {seen[name] for name in BODY} == {2}
    assert {seen["left_ear"], seen["right_ear"]} == {2}


def test_a_side_view_hides_the_far_side() -> None:
    seen = visibilities(labelled(standing(90))[0])  # looks to the right: its right side is near
    face, body = ("right_ear", "right_eye"), ("right_shoulder", "right_elbow", "right_ankle")
    assert {seen[name] for name in (*face, *body, "nose")} == {2}
    assert {seen[name.replace("right", "left")] for name in body} == {1}
    assert {seen[name.replace("right", "left")] for name in face} == {0}  # as COCO labels them


def test_a_face_behind_anything_but_its_own_head_is_labelled_as_hidden() -> None:
    canvas, person = Canvas(CAMERA, np.array([0.0, 0.0, -1.0])), standing(0)
    draw_figure(canvas, person.figure, person.outfit, 0)
    nose = person.points[NAMES.index("nose")]
    hand = Capsule(nose - (0, 0, 0.2), nose - (0, 0, 0.2), 0.05, 0.05)
    canvas.draw_capsule(hand, PAINT, (0, "left_hand"))
    assert label_keypoints(canvas, person, 0)[NAMES.index("nose"), 2] == 1


@pytest.mark.parametrize("front_first", [True, False])
def test_a_figure_behind_another_is_hidden(front_first: bool) -> None:
    front, behind = standing(0, z=3.2), standing(0, z=3.9)
    people = (front, behind) if front_first else (behind, front)
    in_front, hidden = labelled(*people)[:: 1 if front_first else -1]
    assert set(visibilities(in_front).values()) == {2}
    torso = ("left_shoulder", "right_shoulder", "left_hip", "right_hip", "left_knee", "nose")
    assert {visibilities(hidden)[name] for name in torso} == {1}


@pytest.mark.parametrize("gap", [0.7, 0.08])
def test_an_object_in_front_hides_what_it_covers(gap: float) -> None:
    canvas, person = Canvas(CAMERA, np.array([0.0, 0.0, -1.0])), standing(0)
    draw_figure(canvas, person.figure, person.outfit, 0)
    knee = person.points[NAMES.index("left_knee")]
    square = np.array([(-5.0, -5), (5, -5), (5, 5), (-5, 5)])
    canvas.draw_polygon(CAMERA.project(knee) + square, knee[2] - gap, PAINT)
    points = dict(zip(NAMES, label_keypoints(canvas, person, 0), strict=True))
    assert [name for name, v in visibilities(points).items() if v == 1] == ["left_knee"]


@pytest.mark.parametrize(
    ("owner", "v"), [((0, "left_shin"), 2), ((1, "left_shin"), 1), ((0, "left_hand"), 1)]
)
def test_only_the_parts_beside_a_joint_show_it(owner: tuple[int, str], v: int) -> None:
    canvas, person = Canvas(CAMERA, np.array([0.0, 0.0, -1.0])), standing(0)
    draw_figure(canvas, person.figure, person.outfit, 0)
    index = NAMES.index("left_knee")
    place = person.points[index] - (0, 0, 0.07)
    canvas.draw_capsule(Capsule(place, place, 0.01, 0.01), PAINT, owner)
    assert label_keypoints(canvas, person, 0)[index, 2] == v


def test_outside_the_frame_everything_is_zero() -> None:
    points = labelled(standing(0, x=1.64))[0]  # the right border cuts it in halves
    inside = [name for name, (_, _, v) in points.items() if v > 0]
    assert inside == [name for name in NAMES if name.startswith("right")]
    for name in set(NAMES) - set(inside):
        np.testing.assert_array_equal(points[name], 0)


def test_behind_the_camera_everything_is_zero() -> None:
    np.testing.assert_array_equal(list(labelled(standing(0, z=-2))[0].values()), 0)


@pytest.mark.parametrize(("azimuth", "left_is_right"), [(0, True), (180, False)])
def test_left_is_the_persons_own_left(azimuth: float, left_is_right: bool) -> None:
    points = np.array(list(labelled(standing(azimuth))[0].values()))
    pairs = [pair for pair in COCO_17.flip_pairs if points[list(pair), 2].all()]
    assert len(pairs) == (8 if azimuth == 0 else 7)  # all but the eyes from behind
    for left, right in pairs:
        assert (points[left, 0] > points[right, 0]) == left_is_right


def test_keypoints_are_the_projected_joints() -> None:
    person = standing(20)
    points = np.array(list(labelled(person)[0].values()))
    known = points[:, 2] > 0
    assert known.sum() >= 16
    np.testing.assert_allclose(points[known, :2], CAMERA.project(person.points[known]))


def test_people_are_placed_in_front_of_the_camera_and_vary_in_number() -> None:
    rng = np.random.default_rng(0)
    scenes = [place_people(rng, CAMERA, 4) for _ in range(60)]
    assert {len(people) for people in scenes} == {1, 2, 3, 4}
    depths = np.concatenate([person.points[:, 2] for people in scenes for person in people])
    assert depths.min() >= 0.9 - 1e-9
    assert len(place_people(rng, CAMERA, 1)) == 1


def test_scenes_are_hard() -> None:
    """All views, truncation and occlusion stay in the set."""
    rng = np.random.default_rng(7)
    people = [
        person
        for _ in range(60)
        for person in render_scene(rng, (120, 160), 4).people
        if person.mask.any()
    ]
    v = np.array([person.keypoints[:, 2] for person in people])
    assert 0.55 < np.mean(v == 2) < 0.8
    assert 0.1 < np.mean(v == 1) < 0.35
    assert 0.05 < np.mean(v == 0) < 0.3
    facing_away = (v[:, :3] == 0).all(axis=1) & (v[:, 5:7] == 2).any(axis=1)
    assert facing_away.any()


def test_a_scene_has_masks_that_do_not_overlap() -> None:
    scene = render_scene(np.random.default_rng(11), (120, 160), 4)
    assert scene.picture.shape == (120, 160, 3)
    assert scene.picture.dtype == np.uint8
    assert sum(person.mask.astype(int) for person in scene.people).max() <= 1  # type: ignore[union-attr]
