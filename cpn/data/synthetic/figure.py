"""A 3-D articulated figure: build, joints with limits, forward kinematics, the 17 keypoints.

Body frame, in metres: x to the person's own left, y up, z forward, the origin at the pelvis. At
rest (all angles 0) the figure stands upright with its arms hanging and looks along +z.

J is the number of joints (`JOINTS`). Angles are degrees, (J, 3), with the anatomical columns
flexion, twist and abduction; the same number means the same movement on both sides of the body.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

JOINTS = (
    *("pelvis", "chest", "neck", "head"),
    *("left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist"),
    *("left_hip", "left_knee", "left_ankle", "right_hip", "right_knee", "right_ankle"),
)
JOINT_INDEX = {name: index for index, name in enumerate(JOINTS)}

# Per joint: (low, high) degrees of flexion, twist and abduction. The pelvis is the free root.
_LIMITS = {
    "pelvis": ((-180, 180), (-180, 180), (-180, 180)),
    "chest": ((-25, 65), (-40, 40), (-30, 30)),
    "neck": ((-30, 40), (-45, 45), (-25, 25)),
    "head": ((-25, 30), (-40, 40), (-15, 15)),
    "shoulder": ((-50, 175), (-60, 90), (-15, 165)),
    "elbow": ((0, 150), (0, 0), (0, 0)),
    "wrist": ((-60, 60), (0, 0), (-20, 20)),
    "hip": ((-25, 125), (-35, 40), (-15, 60)),
    "knee": ((0, 145), (0, 0), (0, 0)),
    "ankle": ((-45, 25), (0, 0), (0, 0)),
}
JOINT_LIMITS: Array = np.array(
    [_LIMITS[name.removeprefix("left_").removeprefix("right_")] for name in JOINTS], dtype=float
)  # (J, 3, 2)

_PARENTS = (-1, 0, 1, 2, 1, 4, 5, 1, 7, 8, 0, 10, 11, 0, 13, 14)
_ROOT, _TRUNK = JOINT_INDEX["pelvis"], ("chest", "neck", "head")


def _rotation_signs() -> Array:
    """(J, 3) factors from anatomical angles to right-handed rotations about x, y and z."""
    signs = np.ones((len(JOINTS), 3))
    for name, row in zip(JOINTS, signs, strict=True):
        bends_backward = name.endswith("knee") or name == "pelvis" or name in _TRUNK
        row[0] = 1.0 if bends_backward else -1.0
        if name.startswith("right_"):
            row[1:] = -1.0
    return signs


_SIGNS = _rotation_signs()


class Build(NamedTuple):
    """The measures of one body, in metres; `girth` scales every thickness.

    `head` is the height of the skull from chin to crown, `arm` the length of the upper arm.
    """

    height: float
    torso: float
    neck: float
    head: float
    shoulder: float
    hip: float
    arm: float
    forearm: float
    hand: float
    thigh: float
    shin: float
    ankle: float
    foot: float
    girth: float


class PosedFigure(NamedTuple):
    """Joint positions (J, 3) in metres and orientations (J, 3, 3), in the body or camera frame."""

    positions: Array
    rotations: Array
    build: Build

    def moved(self, rotation: Array, translation: Array) -> "PosedFigure":
        """The same figure in a frame to which (3, 3) and (3,) lead."""
        return PosedFigure(
            self.positions @ rotation.T + translation, rotation @ self.rotations, self.build
        )

    def point(self, joint: str, offset: tuple[float, float, float]) -> Array:
        """(3,) position of an offset given in the frame of one joint."""
        index = JOINT_INDEX[joint]
        return np.asarray(self.positions[index] + self.rotations[index] @ np.array(offset))


# Fractions of the body height (Drillis and Contini's segment lengths, rounded to joint centres).
_ADULT = Build(
    1.0, 0.29, 0.055, 0.13, 0.105, 0.055, 0.175, 0.15, 0.10, 0.245, 0.245, 0.045, 0.15, 1
)
_CHILD = Build(
    1.0, 0.30, 0.045, 0.18, 0.100, 0.058, 0.160, 0.14, 0.09, 0.220, 0.215, 0.045, 0.14, 1
)


def sample_build(rng: np.random.Generator) -> Build:
    """Draw a body: adults of 1.5 to 1.95 m, one in six a child, with varied proportions."""
    childhood = float(rng.uniform(0.3, 1.0)) if rng.random() < 1 / 6 else 0.0
    height = float(np.clip(rng.normal(1.70, 0.09), 1.5, 1.95)) * (1 - 0.42 * childhood)
    fractions = (1 - childhood) * np.array(_ADULT) + childhood * np.array(_CHILD)
    measures = height * fractions * np.clip(rng.normal(1.0, 0.05, len(fractions)), 0.88, 1.12)
    girth = height / 1.7 * float(np.clip(rng.lognormal(0.1, 0.16), 0.8, 1.6))
    return Build(*measures.tolist())._replace(height=height, girth=girth)


def clip_to_limits(angles: Array) -> Array:
    """Bring (J, 3) angles inside `JOINT_LIMITS`."""
    return np.clip(angles, JOINT_LIMITS[..., 0], JOINT_LIMITS[..., 1])


def pose_figure(build: Build, angles: Array) -> PosedFigure:
    """Forward kinematics.

    Args:
        build: the body's measures.
        angles: (J, 3) degrees; a joint turns by Rz(abduction) Rx(flexion) Ry(twist) in the frame of
            its parent, the twist about its own bone.

    Returns:
        The joints in the body frame.
    """
    local = _euler_rotations(np.radians(angles) * _SIGNS)
    offsets = _joint_offsets(build)
    positions, rotations = np.zeros((len(JOINTS), 3)), local.copy()
    for joint, parent in enumerate(_PARENTS[1:], start=1):
        positions[joint] = positions[parent] + rotations[parent] @ offsets[joint]
        rotations[joint] = rotations[parent] @ local[joint]
    return PosedFigure(positions, rotations, build)


def _euler_rotations(radians: Array) -> Array:
    """(J, 3) rotations about x, y, z -> (J, 3, 3) matrices Rz Rx Ry."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(radians).T, np.sin(radians).T
    rows = [
        [cz * cy - sz * sx * sy, -sz * cx, cz * sy + sz * sx * cy],
        [sz * cy + cz * sx * sy, cz * cx, sz * sy - cz * sx * cy],
        [-cx * sy, sx, cx * cy],
    ]
    return np.array(rows).transpose(2, 0, 1)


def _joint_offsets(build: Build) -> Array:
    """(J, 3) position of every joint in the frame of its parent."""
    waist = 0.35 * build.torso
    shoulder_height = build.torso - waist
    left_arm = [(build.shoulder, shoulder_height, 0), (0, -build.arm, 0), (0, -build.forearm, 0)]
    left_leg = [(build.hip, 0, 0), (0, -build.thigh, 0), (0, -build.shin, 0)]
    mirrored = [[(-x, y, z) for x, y, z in limb] for limb in (left_arm, left_leg)]
    trunk = [(0, 0, 0), (0, waist, 0), (0, shoulder_height, 0), (0, build.neck, 0.01)]
    return np.array([*trunk, *left_arm, *mirrored[0], *left_leg, *mirrored[1]])


def skull_radii(build: Build) -> Array:
    """(3,) half axes of the skull's ellipsoid along x, y and z of the head frame."""
    return build.head * np.array([0.345, 0.5, 0.425])


def skull_centre(build: Build) -> tuple[float, float, float]:
    """Centre of the skull in the head frame, whose origin is the top of the neck."""
    return (0.0, 0.46 * build.head, 0.06 * build.head)


def face_point(build: Build, x: float, y: float, lift: float = 0.0) -> tuple[float, float, float]:
    """Point of the face in the head frame.

    Args:
        build: the body's measures.
        x: across the face, in half widths of the skull, positive to the person's left.
        y: up the face from the skull's centre, in half heights.
        lift: metres in front of the skull's surface.
    """
    half_x, half_y, half_z = skull_radii(build)
    centre = skull_centre(build)
    z = half_z * float(np.sqrt(max(0.0, 1.0 - x * x - y * y)))
    return (centre[0] + x * half_x, centre[1] + y * half_y, centre[2] + z + lift)


def ear_point(build: Build, side: int) -> tuple[float, float, float]:
    """Centre of the left (`side` 1) or right (-1) ear in the head frame."""
    half_x, half_y, half_z = skull_radii(build)
    centre = skull_centre(build)
    return (side * 1.06 * half_x, centre[1] - 0.08 * half_y, centre[2] - 0.10 * half_z)


EYE_XY = (0.42, 0.10)
NOSE_XY = (0.0, -0.16)


def nose_length(build: Build) -> float:
    """How far the tip of the nose stands out of the skull, in metres."""
    return 0.075 * build.head


def keypoints(figure: PosedFigure) -> Array:
    """(17, 3) positions of the COCO keypoints, in the order of `COCO_17` and the figure's frame."""
    build = figure.build
    eye_x, eye_y = EYE_XY
    face = [
        face_point(build, *NOSE_XY, nose_length(build)),
        face_point(build, eye_x, eye_y),
        face_point(build, -eye_x, eye_y),
        ear_point(build, 1),
        ear_point(build, -1),
    ]
    limbs = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    joints = [JOINT_INDEX[f"{side}_{limb}"] for limb in limbs for side in ("left", "right")]
    return np.concatenate(
        [np.stack([figure.point("head", offset) for offset in face]), figure.positions[joints]]
    )
