import numpy as np
import pytest

from cpn.data.synthetic.figure import (
    JOINT_INDEX,
    JOINT_LIMITS,
    JOINTS,
    Build,
    clip_to_limits,
    keypoints,
    pose_figure,
    sample_build,
)
from cpn.skeleton import COCO_17

BUILD = Build(
    height=1.7,
    torso=0.5,
    neck=0.1,
    head=0.2,
    shoulder=0.18,
    hip=0.1,
    arm=0.3,
    forearm=0.25,
    hand=0.15,
    thigh=0.42,
    shin=0.40,
    ankle=0.08,
    foot=0.25,
    girth=1.0,
)
REST = np.zeros((len(JOINTS), 3))
KEYPOINT = {name: index for index, name in enumerate(COCO_17.keypoint_names)}


def bent(**angles: tuple[float, float, float]) -> np.ndarray:
    pose = REST.copy()
    for joint, values in angles.items():
        pose[JOINT_INDEX[joint]] = values
    return keypoints(pose_figure(BUILD, pose))


def test_rest_pose_by_hand() -> None:
    points = keypoints(pose_figure(BUILD, REST))
    np.testing.assert_allclose(points[KEYPOINT["left_shoulder"]], (0.18, 0.5, 0))
    np.testing.assert_allclose(points[KEYPOINT["left_wrist"]], (0.18, -0.05, 0), atol=1e-12)
    np.testing.assert_allclose(points[KEYPOINT["right_wrist"]], (-0.18, -0.05, 0), atol=1e-12)
    np.testing.assert_allclose(points[KEYPOINT["left_ankle"]], (0.1, -0.82, 0))
    np.testing.assert_allclose(points[KEYPOINT["right_hip"]], (-0.1, 0, 0))


@pytest.mark.parametrize(
    ("joint", "angles", "keypoint", "expected"),
    [
        ("left_shoulder", (90, 0, 0), "left_elbow", (0.18, 0.5, 0.3)),  # forwards
        ("left_shoulder", (0, 0, 90), "left_elbow", (0.48, 0.5, 0)),  # away from the body
        ("right_shoulder", (0, 0, 90), "right_elbow", (-0.48, 0.5, 0)),
        ("right_elbow", (90, 0, 0), "right_wrist", (-0.18, 0.2, 0.25)),  # forwards
        ("left_hip", (90, 0, 0), "left_knee", (0.1, 0, 0.42)),
        ("left_knee", (90, 0, 0), "left_ankle", (0.1, -0.42, -0.4)),  # backwards
        ("pelvis", (90, 0, 0), "left_shoulder", (0.18, 0, 0.5)),  # bows forwards
        ("chest", (0, 90, 0), "left_shoulder", (0, 0.5, -0.18)),  # turns to its left
    ],
)
def test_one_joint_bent_by_hand(
    joint: str,
    angles: tuple[float, float, float],
    keypoint: str,
    expected: tuple[float, float, float],
) -> None:
    np.testing.assert_allclose(bent(**{joint: angles})[KEYPOINT[keypoint]], expected, atol=1e-12)


def test_a_symmetric_pose_is_its_own_mirror_image() -> None:
    rng = np.random.default_rng(0)
    pose = clip_to_limits(rng.normal(0, 60, REST.shape))
    pose[: JOINT_INDEX["left_shoulder"], 1:] = 0
    for index, name in enumerate(JOINTS):
        if name.startswith("right_"):
            pose[index] = pose[JOINT_INDEX[name.replace("right", "left")]]
    points = keypoints(pose_figure(BUILD, pose))
    mirrored = points[list(COCO_17.flip_permutation)] * (-1, 1, 1)
    np.testing.assert_allclose(mirrored, points, atol=1e-12)


def test_bones_keep_their_lengths_in_every_pose() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        points = keypoints(pose_figure(BUILD, rng.uniform(-180, 180, REST.shape)))
        for start, end, length in (
            ("left_shoulder", "left_elbow", 0.3),
            ("right_elbow", "right_wrist", 0.25),
            ("right_hip", "right_knee", 0.42),
            ("left_knee", "left_ankle", 0.40),
        ):
            bone = points[KEYPOINT[start]] - points[KEYPOINT[end]]
            assert np.linalg.norm(bone) == pytest.approx(length)


def test_left_is_the_figures_own_left_and_the_face_looks_forward() -> None:
    points = keypoints(pose_figure(BUILD, REST))
    for left, right in COCO_17.flip_pairs:
        assert points[left, 0] > 0 > points[right, 0]
    nose, eye, ear = (points[KEYPOINT[name]] for name in ("nose", "left_eye", "left_ear"))
    assert nose[2] > eye[2] > ear[2]
    assert ear[0] > eye[0] > nose[0]
    assert eye[1] > nose[1] > points[KEYPOINT["left_shoulder"], 1]


def test_moved_is_a_rigid_move() -> None:
    figure = pose_figure(BUILD, REST)
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    moved = keypoints(figure.moved(quarter, np.array([1.0, 2, 3])))
    np.testing.assert_allclose(moved, keypoints(figure) @ quarter.T + (1, 2, 3), atol=1e-12)


def test_limits_are_ordered_and_clip_brings_angles_inside() -> None:
    assert np.all(JOINT_LIMITS[..., 0] <= JOINT_LIMITS[..., 1])
    clipped = clip_to_limits(np.full(REST.shape, 500.0))
    np.testing.assert_array_equal(clipped, JOINT_LIMITS[..., 1])
    assert clip_to_limits(REST - 500)[JOINT_INDEX["left_knee"], 0] == 0  # no knee bends forwards


def test_builds_are_plausible_and_vary() -> None:
    rng = np.random.default_rng(2)
    builds = np.array([sample_build(rng) for _ in range(300)])
    assert np.all(builds > 0)
    heights = builds[:, 0]
    assert heights.min() < 1.3  # children
    assert heights.max() > 1.8
    assert np.all((heights > 0.85) & (heights <= 1.95))
    standing = builds[:, [1, 2, 3, 9, 10, 11]].sum(axis=1)  # torso, neck, head, thigh, shin, ankle
    assert np.all(np.abs(standing / heights - 1) < 0.12)
    assert np.std(builds[:, 6] / heights) > 0.005  # arms of different lengths
