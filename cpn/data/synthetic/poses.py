"""Poses: a table of everyday leg and arm positions, mixed at random and kept inside joint limits.

Each entry is {joint: ((flexion, twist, abduction) mean, one spread in degrees)}. "lead" and "trail"
stand for the two sides, assigned at random, so that no pose has a preferred side.
"""

from collections.abc import Mapping

import numpy as np

from cpn.data.synthetic.figure import JOINT_INDEX, JOINTS, Array, clip_to_limits

_Position = Mapping[str, tuple[tuple[float, float, float], float]]

_LEGS: Mapping[str, tuple[float, _Position]] = {
    "stand": (
        44,
        {
            "lead_hip": ((2, 5, 5), 5),
            "trail_hip": ((2, 5, 5), 5),
            "lead_knee": ((4, 0, 0), 6),
            "trail_knee": ((4, 0, 0), 6),
        },
    ),
    "lean": (
        12,
        {
            "pelvis": ((0, 0, 5), 4),
            "lead_hip": ((12, 15, 12), 8),
            "trail_hip": ((-2, 5, 2), 5),
            "lead_knee": ((22, 0, 0), 12),
            "trail_knee": ((3, 0, 0), 4),
        },
    ),
    "walk": (
        24,
        {
            "pelvis": ((3, 0, 0), 3),
            "lead_hip": ((26, 2, 3), 9),
            "trail_hip": ((-14, 2, 3), 7),
            "lead_knee": ((10, 0, 0), 10),
            "trail_knee": ((28, 0, 0), 18),
            "trail_ankle": ((-15, 0, 0), 10),
        },
    ),
    "run": (
        6,
        {
            "pelvis": ((12, 0, 0), 6),
            "lead_hip": ((60, 2, 3), 18),
            "trail_hip": ((-14, 2, 3), 9),
            "lead_knee": ((75, 0, 0), 25),
            "trail_knee": ((55, 0, 0), 30),
            "trail_ankle": ((-25, 0, 0), 10),
        },
    ),
    "sit": (
        10,
        {
            "pelvis": ((-4, 0, 0), 8),
            "chest": ((6, 0, 0), 10),
            "lead_hip": ((86, 8, 10), 12),
            "trail_hip": ((86, 8, 10), 12),
            "lead_knee": ((80, 0, 0), 20),
            "trail_knee": ((85, 0, 0), 20),
        },
    ),
    "squat": (
        2,
        {
            "pelvis": ((25, 0, 0), 12),
            "lead_hip": ((112, 15, 22), 12),
            "trail_hip": ((112, 15, 22), 12),
            "lead_knee": ((125, 0, 0), 14),
            "trail_knee": ((125, 0, 0), 14),
            "lead_ankle": ((15, 0, 0), 8),
            "trail_ankle": ((15, 0, 0), 8),
        },
    ),
    "kneel": (
        1,
        {
            "lead_hip": ((85, 4, 8), 10),
            "trail_hip": ((0, 4, 8), 10),
            "lead_knee": ((90, 0, 0), 10),
            "trail_knee": ((95, 0, 0), 15),
            "trail_ankle": ((-30, 0, 0), 10),
        },
    ),
    "bend": (
        2,
        {
            "pelvis": ((45, 0, 0), 20),
            "chest": ((30, 0, 0), 15),
            "lead_hip": ((52, 5, 5), 14),
            "trail_hip": ((45, 5, 5), 14),
            "lead_knee": ((20, 0, 0), 16),
            "trail_knee": ((20, 0, 0), 16),
        },
    ),
    "kick": (
        2,
        {
            "pelvis": ((-8, 0, 4), 8),
            "lead_hip": ((70, 5, 15), 22),
            "trail_hip": ((0, 5, 5), 8),
            "lead_knee": ((25, 0, 0), 22),
            "trail_knee": ((15, 0, 0), 10),
        },
    ),
    "straddle": (
        3,
        {
            "lead_hip": ((10, 20, 32), 12),
            "trail_hip": ((10, 20, 32), 12),
            "lead_knee": ((18, 0, 0), 18),
            "trail_knee": ((18, 0, 0), 18),
        },
    ),
    "lie": (
        2,
        {
            "lead_hip": ((30, 5, 8), 30),
            "trail_hip": ((12, 5, 8), 16),
            "lead_knee": ((45, 0, 0), 40),
            "trail_knee": ((20, 0, 0), 22),
        },
    ),
}

_ARMS: Mapping[str, tuple[float, _Position]] = {
    "hang": (
        44,
        {
            "lead_shoulder": ((4, 0, 9), 8),
            "trail_shoulder": ((4, 0, 9), 8),
            "lead_elbow": ((18, 0, 0), 14),
            "trail_elbow": ((18, 0, 0), 14),
        },
    ),
    "swing": (
        20,
        {
            "lead_shoulder": ((-25, 0, 8), 10),
            "trail_shoulder": ((32, 0, 8), 12),
            "lead_elbow": ((45, 0, 0), 32),
            "trail_elbow": ((55, 0, 0), 32),
        },
    ),
    "hold": (
        11,
        {
            "lead_shoulder": ((42, 25, 12), 18),
            "trail_shoulder": ((30, 25, 12), 18),
            "lead_elbow": ((95, 0, 0), 25),
            "trail_elbow": ((85, 0, 0), 30),
        },
    ),
    "one hand to head": (
        6,
        {
            "lead_shoulder": ((70, 25, 25), 20),
            "trail_shoulder": ((4, 0, 9), 9),
            "lead_elbow": ((130, 0, 0), 15),
            "trail_elbow": ((25, 0, 0), 20),
        },
    ),
    "wave": (
        6,
        {
            "lead_shoulder": ((20, -30, 115), 30),
            "trail_shoulder": ((5, 0, 10), 10),
            "lead_elbow": ((55, 0, 0), 35),
            "trail_elbow": ((25, 0, 0), 20),
        },
    ),
    "raise": (
        4,
        {
            "lead_shoulder": ((155, 0, 15), 20),
            "trail_shoulder": ((155, 0, 15), 20),
            "lead_elbow": ((25, 0, 0), 25),
            "trail_elbow": ((25, 0, 0), 25),
        },
    ),
    "spread": (
        5,
        {
            "lead_shoulder": ((5, -20, 85), 18),
            "trail_shoulder": ((5, -20, 85), 18),
            "lead_elbow": ((20, 0, 0), 25),
            "trail_elbow": ((20, 0, 0), 25),
        },
    ),
    "akimbo": (
        5,
        {
            "lead_shoulder": ((-20, 50, 45), 8),
            "trail_shoulder": ((-20, 50, 45), 8),
            "lead_elbow": ((95, 0, 0), 12),
            "trail_elbow": ((95, 0, 0), 12),
        },
    ),
    "reach": (
        5,
        {
            "lead_shoulder": ((85, 5, 10), 20),
            "trail_shoulder": ((60, 10, 10), 35),
            "lead_elbow": ((25, 0, 0), 22),
            "trail_elbow": ((45, 0, 0), 35),
        },
    ),
    "any": (
        3,
        {
            "lead_shoulder": ((60, 0, 50), 55),
            "trail_shoulder": ((60, 0, 50), 55),
            "lead_elbow": ((60, 0, 0), 45),
            "trail_elbow": ((60, 0, 0), 45),
        },
    ),
}

_TRUNK: _Position = {
    "pelvis": ((0, 0, 0), 3),
    "chest": ((3, 0, 0), 6),
    "neck": ((4, 0, 0), 8),
    "head": ((2, 0, 0), 6),
    "lead_wrist": ((0, 0, 0), 15),
    "trail_wrist": ((0, 0, 0), 15),
}


def sample_pose(rng: np.random.Generator) -> Array:
    """Draw (J, 3) angles in degrees, all inside `JOINT_LIMITS`."""
    sides = ("left", "right") if rng.random() < 0.5 else ("right", "left")
    legs = _choose(rng, _LEGS)
    position = {**_TRUNK, **_LEGS[legs][1], **_ARMS[_choose(rng, _ARMS)][1]}
    means, spreads = np.zeros((len(JOINTS), 3)), np.zeros((len(JOINTS), 1))
    for name, (mean, spread) in position.items():
        side, _, rest = name.partition("_")
        joint = f"{sides[side == 'trail']}_{rest}" if rest else side
        means[JOINT_INDEX[joint]], spreads[JOINT_INDEX[joint]] = mean, spread
    angles = means + spreads * rng.normal(0.0, 1.0, means.shape)
    if legs == "lie":
        angles[JOINT_INDEX["pelvis"]] += _lying(rng)
    return clip_to_limits(angles)


def _choose(rng: np.random.Generator, table: Mapping[str, tuple[float, _Position]]) -> str:
    weights = np.array([weight for weight, _ in table.values()])
    return list(table)[int(rng.choice(len(weights), p=weights / weights.sum()))]


def _lying(rng: np.random.Generator) -> Array:
    """Root angles of a figure on its back, its front or one of its sides."""
    turns = np.array([(-85.0, 0, 0), (85.0, 0, 0), (0, 0, 85.0), (0, 0, -85.0)])
    return np.asarray(turns[rng.integers(4)])
