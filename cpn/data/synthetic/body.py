"""The surfaces of a dressed figure: which capsules and ellipsoids are drawn for a posed skeleton.

Sizes are metres for an adult of average girth and scale with `Build.girth`, those of the head with
`Build.head`. Every surface names the body part it belongs to; `ADJACENT_PARTS` and `JOINT_DEPTHS`
say when a keypoint is seen: its own surface must be what the camera sees there.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from cpn.data.synthetic.figure import (
    EYE_XY,
    JOINT_INDEX,
    NOSE_XY,
    PosedFigure,
    ear_point,
    face_point,
    nose_length,
    skull_centre,
    skull_radii,
)
from cpn.data.synthetic.raster import Canvas, Paint
from cpn.data.synthetic.shapes import Capsule, Ellipsoid
from cpn.data.synthetic.wardrobe import Outfit

Offset = tuple[float, float, float]
_SIDES = (("left", 1), ("right", -1))
_BLACK = Paint((24, 18, 16), (24, 18, 16))
_WHITE = Paint((238, 236, 232), (238, 236, 232))


class Surface(NamedTuple):
    """One shape, its paint and the body part it belongs to."""

    shape: Capsule | Ellipsoid
    paint: Paint
    part: str


class _Limb(NamedTuple):
    """A bone that flesh and cloth are wrapped around: joints, radii in metres and body part."""

    start: str
    end: str
    start_radius: float
    end_radius: float
    part: str


_UPPER_ARM = _Limb("shoulder", "elbow", 0.052, 0.040, "upper_arm")
_FOREARM = _Limb("elbow", "wrist", 0.040, 0.028, "forearm")
_THIGH = _Limb("hip", "knee", 0.086, 0.056, "thigh")
_SHIN = _Limb("knee", "ankle", 0.056, 0.038, "shin")

# How far along the thigh the cloth that clings to it goes.
_LEGWEAR_REACH = {"trousers": 1.0, "shorts": 0.62, "skirt": 0.35}

# The parts whose surface shows a keypoint: limbs without the side, and `MIDDLE_PARTS`, which have
# none. A point of the face is only ever shown by the head.
MIDDLE_PARTS = ("torso", "skirt")
HEAD_PARTS = ("head", "hair", "neck")
FACE_KEYPOINTS = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
ADJACENT_PARTS = {
    "shoulder": ("torso", "upper_arm"),
    "elbow": ("upper_arm", "forearm"),
    "wrist": ("forearm", "hand"),
    "hip": ("torso", "skirt", "thigh"),
    "knee": ("thigh", "shin"),
    "ankle": ("shin", "foot"),
}
# How far a keypoint may lie behind the surface that shows it, metres at girth 1: points of the face
# lie on the surface, joints inside their limb, under its clothes.
JOINT_DEPTHS = {
    "nose": 0.02,
    "eye": 0.022,
    "ear": 0.03,
    "shoulder": 0.12,
    "elbow": 0.085,
    "wrist": 0.09,
    "hip": 0.18,
    "knee": 0.11,
    "ankle": 0.1,
}


def draw_figure(canvas: Canvas, figure: PosedFigure, outfit: Outfit, person: int) -> None:
    """Draw a figure.

    Args:
        canvas: receives the surfaces; it decides what hides what.
        figure: the posed skeleton, in the camera frame.
        outfit: its looks.
        person: owner of the surfaces.
    """
    for shape, paint, part in surfaces(figure, outfit):
        if isinstance(shape, Capsule):
            canvas.draw_capsule(shape, paint, (person, part))
        else:
            canvas.draw_ellipsoid(shape, paint, (person, part))


def surfaces(figure: PosedFigure, outfit: Outfit) -> Iterator[Surface]:
    """Yield the surfaces of a dressed figure, in the frame that its joints are given in."""
    yield from _torso(figure, outfit)
    yield from _arms(figure, outfit)
    yield from _legs(figure, outfit)
    yield from _skull(figure, outfit)
    yield from _face(figure, outfit)
    yield from _hair(figure, outfit)


def _ellipsoid(figure: PosedFigure, joint: str, centre: Offset, radii: Offset) -> Ellipsoid:
    rotation = figure.rotations[JOINT_INDEX[joint]]
    return Ellipsoid(figure.point(joint, centre), rotation, np.array(radii))


def _capsule(figure: PosedFigure, joint: str, start: Offset, end: Offset, radius: float) -> Capsule:
    return Capsule(figure.point(joint, start), figure.point(joint, end), radius, radius)


def _torso(figure: PosedFigure, outfit: Outfit) -> Iterator[Surface]:
    build = figure.build
    girth, torso, shoulder = build.girth, build.torso, build.shoulder
    belly = 0.105 * girth * (0.6 + 0.4 * girth)
    chest = (0.92 * shoulder + 0.01, 0.42 * torso, 0.115 * girth)
    waist = (0.74 * shoulder * (0.5 + 0.5 * girth), 0.38 * torso, belly)
    pelvis = (build.hip + 0.085 * girth, 0.24 * torso, 0.12 * girth)
    yield Surface(_ellipsoid(figure, "chest", (0, 0.32 * torso, 0.005), chest), outfit.top, "torso")
    yield Surface(_ellipsoid(figure, "pelvis", (0, 0.30 * torso, 0.01), waist), outfit.top, "torso")
    hips = outfit.top if outfit.legwear == "bare" else outfit.bottom
    yield Surface(_ellipsoid(figure, "pelvis", (0, 0.02, -0.01), pelvis), hips, "torso")
    for _, side in _SIDES:
        slope = _capsule(
            figure,
            "chest",
            (side * 0.85 * shoulder, 0.645 * torso, 0),
            (0, 0.70 * torso, -0.01),
            0.05 * girth,
        )
        yield Surface(slope, outfit.top, "torso")
    if outfit.backpack is not None:
        bag = _ellipsoid(
            figure, "chest", (0, 0.25 * torso, -0.17 * girth), (0.15, 0.45 * torso, 0.1)
        )
        yield Surface(bag, outfit.backpack, "bag")


def _wrap(
    figure: PosedFigure, limb: _Limb, side: str, paint: Paint, ease: float, reach: float = 1.0
) -> Surface:
    """Flesh (ease 1) or cloth around a bone, down to a fraction `reach` of its length."""
    start = figure.positions[JOINT_INDEX[f"{side}_{limb.start}"]]
    end = figure.positions[JOINT_INDEX[f"{side}_{limb.end}"]]
    girth = figure.build.girth * ease
    end_radius = limb.start_radius + reach * (limb.end_radius - limb.start_radius)
    shape = Capsule(
        start, start + reach * (end - start), girth * limb.start_radius, girth * end_radius
    )
    return Surface(shape, paint, f"{side}_{limb.part}")


def _arms(figure: PosedFigure, outfit: Outfit) -> Iterator[Surface]:
    girth, hand = figure.build.girth, figure.build.hand
    long = outfit.sleeves == "long"
    for side, _ in _SIDES:
        yield _wrap(figure, _UPPER_ARM, side, outfit.skin, 1.0)
        if outfit.sleeves != "none":
            yield _wrap(figure, _UPPER_ARM, side, outfit.top, outfit.ease, 1.0 if long else 0.5)
        if long:
            yield _wrap(figure, _FOREARM, side, outfit.top, outfit.ease, 0.92)
        yield _wrap(figure, _FOREARM, side, outfit.skin, 1.0)
        palm = _ellipsoid(
            figure,
            f"{side}_wrist",
            (0, -0.5 * hand, 0.005),
            (0.022 * girth, 0.58 * hand, 0.038 * girth),
        )
        yield Surface(palm, outfit.skin, f"{side}_hand")


def _legs(figure: PosedFigure, outfit: Outfit) -> Iterator[Surface]:
    ease = 1.0 + 0.8 * (outfit.ease - 1.0)
    for side, _ in _SIDES:
        yield _wrap(figure, _THIGH, side, outfit.skin, 1.0)
        yield _wrap(figure, _SHIN, side, outfit.skin, 1.0)
        if outfit.legwear != "bare":
            reach = _LEGWEAR_REACH[outfit.legwear]
            yield _wrap(figure, _THIGH, side, outfit.bottom, ease, reach)
        if outfit.legwear == "trousers":
            yield _wrap(figure, _SHIN, side, outfit.bottom, ease, 0.93)
        yield _foot(figure, outfit, side)
    if outfit.legwear == "skirt":
        yield _skirt(figure, outfit)


def _foot(figure: PosedFigure, outfit: Outfit, side: str) -> Surface:
    build, joint = figure.build, f"{side}_ankle"
    heel = figure.point(joint, (0, -0.45 * build.ankle, -0.18 * build.foot))
    toe = figure.point(joint, (0, -0.6 * build.ankle, 0.68 * build.foot))
    shape = Capsule(heel, toe, 0.043 * build.girth, 0.034 * build.girth)
    return Surface(shape, outfit.shoes, f"{side}_foot")


def _skirt(figure: PosedFigure, outfit: Outfit) -> Surface:
    """The upper half of an ellipsoid that hangs from the pelvis along the mean of the thighs."""
    build = figure.build
    knees = figure.positions[[JOINT_INDEX["left_knee"], JOINT_INDEX["right_knee"]]]
    down = knees.mean(axis=0) - figure.positions[0]
    down = down / max(float(np.linalg.norm(down)), 1e-6)
    across = figure.rotations[0][:, 0] - down * float(figure.rotations[0][:, 0] @ down)
    across = across / max(float(np.linalg.norm(across)), 1e-6)
    axes = np.stack([across, -down, np.cross(across, -down)], axis=1)
    spread = float(np.linalg.norm(knees[0] - knees[1])) / 2
    length = build.thigh * (0.7 + 1.6 * (outfit.ease - 1.15))
    radii = np.array(
        [max(0.17 * build.girth, 0.9 * spread) + 0.08, length + 0.07, 0.25 * build.girth]
    )
    return Surface(
        Ellipsoid(figure.positions[0] + down * length, axes, radii, 0.0), outfit.bottom, "skirt"
    )


def _skull(figure: PosedFigure, outfit: Outfit) -> Iterator[Surface]:
    build, skin = figure.build, outfit.skin
    half_x, half_y, half_z = skull_radii(build)
    centre = skull_centre(build)
    neck = _capsule(figure, "neck", (0, -0.04, 0), (0, build.neck + 0.02, 0.01), 0.05 * build.girth)
    yield Surface(neck, skin, "neck")
    yield Surface(_ellipsoid(figure, "head", centre, (half_x, half_y, half_z)), skin, "head")
    jaw = (0, centre[1] - 0.42 * half_y, centre[2] + 0.25 * half_z)
    yield Surface(
        _ellipsoid(figure, "head", jaw, (0.78 * half_x, 0.56 * half_y, 0.7 * half_z)), skin, "head"
    )
    for _, side in _SIDES:
        ear = (0.1 * half_x, 0.26 * half_y, 0.2 * half_z)
        yield Surface(_ellipsoid(figure, "head", ear_point(build, side), ear), skin, "head")


def _face(figure: PosedFigure, outfit: Outfit) -> Iterator[Surface]:
    build, head = figure.build, figure.build.head
    tip = nose_length(build)
    bridge = Capsule(
        figure.point("head", face_point(build, 0.0, 0.12, -0.02 * head)),
        figure.point("head", face_point(build, *NOSE_XY, tip - 0.055 * head)),
        0.03 * head,
        0.055 * head,
    )
    yield Surface(bridge, outfit.skin, "head")
    for _, side in _SIDES:
        yield from _eye(figure, outfit, side)
        brow = [(0.16 * side, 0.30), (0.42 * side, 0.34), (0.66 * side, 0.27)]
        yield from _strip(figure, outfit.hair, brow, 0.02 * head)
    mouth = [(-0.27, -0.52), (0.0, -0.54), (0.27, -0.52)]
    yield from _strip(figure, outfit.lips, mouth, 0.027 * head, lift=0.03 * head)


def _eye(figure: PosedFigure, outfit: Outfit, side: int) -> Iterator[Surface]:
    """The white, the iris and an upper lid, sunk into the skull."""
    build, head = figure.build, figure.build.head
    eye_x, eye_y = side * EYE_XY[0], EYE_XY[1]
    balls = (
        (_WHITE, eye_y, -0.047, 0.07),
        (_BLACK, eye_y, -0.018, 0.045),
        (outfit.skin, eye_y + 0.075, -0.045, 0.066),
    )
    for paint, y, lift, radius in balls:
        place = face_point(build, eye_x, y, lift * head)
        yield Surface(_capsule(figure, "head", place, place, radius * head), paint, "head")


def _strip(
    figure: PosedFigure,
    paint: Paint,
    places: list[tuple[float, float]],
    radius: float,
    lift: float = 0.0,
) -> Iterator[Surface]:
    """A line painted on the face through places given as in `face_point`."""
    points = [face_point(figure.build, x, y, lift + 0.2 * radius) for x, y in places]
    for start, end in pairwise(points):
        yield Surface(_capsule(figure, "head", start, end, radius), paint, "head")


def _hair(figure: PosedFigure, outfit: Outfit) -> Iterator[Surface]:
    _, half_y, half_z = skull_radii(figure.build)
    _, y, z = skull_centre(figure.build)
    if outfit.haircut != "bald":
        yield _blob(figure, outfit.hair, (0, y + 0.3 * half_y, z - 0.22 * half_z), (1.1, 0.9, 1.0))
    if outfit.haircut == "long":
        yield _blob(
            figure, outfit.hair, (0, y - 0.45 * half_y, z - 0.6 * half_z), (1.2, 1.25, 0.62)
        )
    if outfit.haircut == "bun":
        yield _blob(figure, outfit.hair, (0, y + 0.7 * half_y, z - 1.05 * half_z), (0.5, 0.35, 0.4))
    if outfit.beard and outfit.haircut == "short":
        yield _blob(figure, outfit.hair, (0, y - 0.72 * half_y, z + 0.3 * half_z), (0.8, 0.4, 0.7))
    if outfit.headgear != "none":
        dome = _blob(
            figure, outfit.hat, (0, y + 0.42 * half_y, z - 0.1 * half_z), (1.22, 0.85, 1.3)
        )
        ellipsoid = dome.shape
        assert isinstance(ellipsoid, Ellipsoid)
        yield dome._replace(shape=ellipsoid._replace(floor=0.0))
        brim_z, brim_radii = (
            (1.0, (0.85, 0.07, 0.8)) if outfit.headgear == "cap" else (0.0, (1.9, 0.07, 1.8))
        )
        yield _blob(figure, outfit.hat, (0, y + 0.45 * half_y, z + brim_z * half_z), brim_radii)


def _blob(figure: PosedFigure, paint: Paint, centre: Offset, radii: Offset) -> Surface:
    """A part of the hairdo: centre in the head frame, half axes in those of the skull."""
    half = skull_radii(figure.build)
    scaled = (radii[0] * half[0], radii[1] * half[1], radii[2] * half[2])
    return Surface(_ellipsoid(figure, "head", centre, scaled), paint, "hair")
