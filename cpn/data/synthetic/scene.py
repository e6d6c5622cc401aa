"""One picture: people placed before a camera, objects before them, and what can be seen of each."""

from typing import NamedTuple

import numpy as np

from cpn.data.synthetic.background import Picture, paint_background, smooth_noise
from cpn.data.synthetic.body import (
    ADJACENT_PARTS,
    FACE_KEYPOINTS,
    HEAD_PARTS,
    JOINT_DEPTHS,
    MIDDLE_PARTS,
    draw_figure,
)
from cpn.data.synthetic.camera import Camera, view_rotation
from cpn.data.synthetic.figure import Array, PosedFigure, keypoints, pose_figure, sample_build
from cpn.data.synthetic.photograph import photograph
from cpn.data.synthetic.poses import sample_pose
from cpn.data.synthetic.raster import Canvas, Paint
from cpn.data.synthetic.shapes import Mask
from cpn.data.synthetic.wardrobe import Outfit, sample_colour, sample_outfit
from cpn.skeleton import COCO_17

_NEAREST_METRES = 0.9


class PlacedFigure(NamedTuple):
    """A figure in the camera frame and its keypoints, `points` (17, 3)."""

    figure: PosedFigure
    outfit: Outfit
    points: Array


class SeenPerson(NamedTuple):
    """What the picture shows of one person: keypoints (17, 3) as x, y, v, and its mask (H, W)."""

    keypoints: Array
    mask: Mask


class Scene(NamedTuple):
    """A picture (H, W, 3) RGB and the people in it, the hidden ones included."""

    picture: Picture
    people: tuple[SeenPerson, ...]


def render_scene(rng: np.random.Generator, size_hw: tuple[int, int], max_people: int) -> Scene:
    """Draw a scene of one to `max_people` people.

    Args:
        rng: the only source of randomness.
        size_hw: height and width of the picture in pixels.
        max_people: upper bound of the number of people.

    Returns:
        The picture and what it shows of each person.
    """
    camera = _sample_camera(rng, size_hw)
    canvas = Canvas(camera, _sample_light(rng))
    people = place_people(rng, camera, max_people)
    background = paint_background(rng, size_hw)
    for index, person in enumerate(people):
        _cast_shadow(background, camera, person)
        draw_figure(canvas, person.figure, person.outfit, index)
    for _ in range(int(rng.choice(4, p=(0.85, 0.1, 0.04, 0.01)))):
        _draw_obstacle(rng, canvas, people[rng.integers(len(people))])
    folds = smooth_noise(rng, size_hw, int(rng.integers(16, 48))) * np.float32(0.16)
    picture = photograph(rng, canvas.compose(background, folds + np.float32(0.92)))
    owners = canvas.owner_map()
    seen = (
        SeenPerson(label_keypoints(canvas, person, index), owners == index)
        for index, person in enumerate(people)
    )
    return Scene(picture, tuple(seen))


def _sample_camera(rng: np.random.Generator, size_hw: tuple[int, int]) -> Camera:
    """A vertical field of view of 28 to 70 degrees."""
    field = np.radians(rng.uniform(28, 70))
    return Camera(float(0.5 * size_hw[0] / np.tan(field / 2)), size_hw)


def _sample_light(rng: np.random.Generator) -> Array:
    light = np.array([rng.uniform(-1, 1), rng.uniform(-1.2, 0.3), rng.uniform(-1.0, -0.2)])
    return np.asarray(light / float(np.linalg.norm(light)))


def place_people(
    rng: np.random.Generator, camera: Camera, max_people: int
) -> tuple[PlacedFigure, ...]:
    """Draw people from one viewpoint, each turned its own way, often close to one another."""
    elevation = float(np.clip(rng.normal(6, 9), -15, 45))
    roll = float(rng.normal(0, 4))
    weights = 0.5 ** np.arange(max_people)
    count = 1 + int(rng.choice(max_people, p=weights / weights.sum()))
    people: list[PlacedFigure] = []
    for _ in range(count):
        rotation = view_rotation(_sample_azimuth(rng), elevation, roll)
        figure = pose_figure(sample_build(rng), sample_pose(rng)).moved(rotation, np.zeros(3))
        points = keypoints(figure)
        root = _sample_root(rng, camera, points, figure.build.height, people)
        placed = figure.moved(np.eye(3), root)
        people.append(PlacedFigure(placed, sample_outfit(rng), points + root))
    return tuple(people)


def _sample_azimuth(rng: np.random.Generator) -> float:
    """Degrees; people are photographed from the front more often than from behind."""
    facing = rng.random() < 0.93
    return float(rng.normal(0, 25) if facing else rng.uniform(-180, 180))


def _sample_root(
    rng: np.random.Generator,
    camera: Camera,
    points: Array,
    height_metres: float,
    others: list[PlacedFigure],
) -> Array:
    """Choose where the pelvis is: (3,) camera frame, from the wanted size and image place."""
    neighbour = others[rng.integers(len(others))] if others and rng.random() < 0.15 else None
    height, width = camera.size_hw
    is_portrait = neighbour is None and rng.random() < 0.1
    share = rng.uniform(1.0, 2.0) if is_portrait else rng.uniform(0.45, 1.0)
    depth = camera.focal * height_metres / (share * height)
    if neighbour is not None:
        step = float(rng.choice((-1, 1)) * rng.uniform(0.35, 1.2))
        depth = float(neighbour.figure.positions[0, 2]) + step
    depth = max(depth, _NEAREST_METRES - float(points[:, 2].min()))
    low, high = points[:, :2].min(axis=0) - 0.1, points[:, :2].max(axis=0) + 0.1
    size = (high - low) * camera.focal / depth
    limits = np.stack([size / 2, np.array([width, height]) - size / 2])
    centre = rng.uniform(limits.min(axis=0), limits.max(axis=0))
    if neighbour is not None:
        beside = camera.project(neighbour.points).mean(axis=0)
        centre = beside + rng.choice((-1, 1), 2) * rng.uniform((0.2, 0.0), (0.8, 0.15)) * size
    elif is_portrait and size[1] > height:  # the legs leave the frame, not the head
        centre[1] = size[1] / 2 + rng.uniform(-0.02, 0.2) * height
    elif rng.random() < 0.1:
        centre = centre + rng.choice((-1, 1), 2) * rng.uniform(0.0, 0.45, 2) * size
    middle = (low + high) / 2
    return np.asarray(camera.unproject(centre, depth) - np.array([*middle, 0.0]))


def _cast_shadow(background: Picture, camera: Camera, person: PlacedFigure) -> None:
    """Darken the ground below the lower ankle."""
    lowest = person.points[np.argmax(person.points[:, 1])]
    x, y = camera.project(lowest)
    radius = 0.3 * camera.focal / lowest[2]
    height, width = camera.size_hw
    left, right = max(0, int(x - radius)), min(width, int(x + radius) + 1)
    top, bottom = max(0, int(y - radius / 4)), min(height, int(y + radius / 2) + 1)
    if left < right and top < bottom:
        columns = (np.arange(left, right) - x) / radius
        rows = (np.arange(top, bottom)[:, None] - y - radius / 8) / (0.375 * radius)
        dark = np.clip(1.0 - columns**2 - rows**2, 0, 1)[..., None] * 0.5
        place = background[top:bottom, left:right]
        place[:] = (place * (1 - dark)).astype(np.uint8)


def _draw_obstacle(rng: np.random.Generator, canvas: Canvas, person: PlacedFigure) -> None:
    """Put a board, a post or a piece of furniture before a person."""
    camera = canvas.camera
    target = person.points[rng.integers(len(person.points))]
    depth = max(0.3, float(person.points[:, 2].min()) - float(rng.uniform(0.05, 0.6)))
    x, y = camera.project(target)
    unit = camera.focal * person.figure.build.height / float(person.figure.positions[0, 2])
    half_width, half_height = (
        np.array([(0.04, 0.7), (0.4, 0.06), (0.16, 0.14), (0.3, 0.2)][rng.integers(4)])
        * rng.uniform(0.5, 1.2, 2)
        * unit
    )
    skew = rng.normal(0, 0.12, (4, 2)) * min(half_width, half_height)
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (half_width, half_height)
    colour = sample_colour(rng)
    pattern = ("plain", "bands", "stripes", "checks")[rng.integers(4)]
    paint = Paint(colour, sample_colour(rng), pattern, float(rng.uniform(0.05, 0.25)))
    canvas.draw_polygon(np.array([x, y]) + corners + skew, depth, paint)


def label_keypoints(canvas: Canvas, person: PlacedFigure, index: int) -> Array:
    """Test which keypoints of a person the finished canvas shows.

    A keypoint in the frame is visible (v = 2) if nothing lies before it at its pixel but its own
    surface: the parts that adjoin it, no further before it than the body is thick there. Otherwise
    it is hidden (v = 1). It is not labelled (x = y = v = 0) outside the frame, nor where it is a
    point of the face that the person's own head hides: COCO's annotators leave out the nose of a
    head seen from behind.

    Returns:
        (17, 3) x, y, v in image points.
    """
    height, width = canvas.camera.size_hw
    girth = person.figure.build.girth
    labelled = np.zeros((len(person.points), 3))
    for row, name, point in zip(labelled, COCO_17.keypoint_names, person.points, strict=True):
        if point[2] < 0.1:
            continue
        x, y = canvas.camera.project(point)
        if 0 <= x <= width - 1 and 0 <= y <= height - 1:
            seen = _is_seen(canvas, (x, y), float(point[2]), name, (index, girth))
            if seen or not (name in FACE_KEYPOINTS and _own_head_hides(canvas, (x, y), index)):
                row[:] = (x, y, 2 if seen else 1)
    return labelled


def _own_head_hides(canvas: Canvas, place: tuple[float, float], index: int) -> bool:
    owner, part = canvas.owner(round(place[0]), round(place[1]))
    return owner == index and part in HEAD_PARTS


def _is_seen(
    canvas: Canvas,
    place: tuple[float, float],
    depth: float,
    name: str,
    index_girth: tuple[int, float],
) -> bool:
    column, row = round(place[0]), round(place[1])
    side, _, joint = name.rpartition("_")
    index, girth = index_girth
    gap = depth - float(canvas.depth[row, column])
    surface = JOINT_DEPTHS[joint] * (girth if joint in ADJACENT_PARTS else 1.0)
    if gap > surface:
        return False
    parts = [
        part if part in MIDDLE_PARTS else f"{side}_{part}" for part in ADJACENT_PARTS.get(joint, ())
    ]
    owner, part = canvas.owner(column, row)
    return gap <= 0.0 or (owner == index and part in (parts or ["head"]))
