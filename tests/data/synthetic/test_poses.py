import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cpn.data.synthetic.figure import JOINT_INDEX, JOINT_LIMITS
from cpn.data.synthetic.poses import sample_pose


@settings(max_examples=50, derandomize=True)
@given(st.integers(0, 2**32))
def test_every_pose_keeps_within_the_joint_limits(seed: int) -> None:
    pose = sample_pose(np.random.default_rng(seed))
    assert np.all(pose >= JOINT_LIMITS[..., 0])
    assert np.all(pose <= JOINT_LIMITS[..., 1])


def test_poses_vary_and_prefer_no_side() -> None:
    rng = np.random.default_rng(0)
    angles = np.array([sample_pose(rng) for _ in range(800)])
    arms = angles[:, [JOINT_INDEX["left_shoulder"], JOINT_INDEX["right_shoulder"]], 2]
    assert abs(arms.mean(axis=0) @ (1, -1)) < 5
    poses = angles[..., 0]
    knees = poses[:, [JOINT_INDEX["left_knee"], JOINT_INDEX["right_knee"]]]
    assert abs(knees.mean(axis=0) @ (1, -1)) < 6
    assert np.mean(knees.max(axis=1) < 20) > 0.1  # standing
    assert np.mean(knees.min(axis=1) > 60) > 0.08  # sitting or squatting
    raised = poses[:, JOINT_INDEX["left_shoulder"]] > 120
    assert 0.03 < raised.mean() < 0.3
    lying = np.abs(poses[:, JOINT_INDEX["pelvis"]]) > 70
    assert 0.005 < lying.mean() < 0.1
