"""Capsules and ellipsoids as a camera sees them: where, how far away and how bright.

All arithmetic is float32 on the window of the image that a shape may touch.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cpn.data.synthetic.camera import Camera
from cpn.data.synthetic.figure import Array

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

_AMBIENT, _DIFFUSE = 0.42, 0.68


class Capsule(NamedTuple):
    """Two spheres and their hull: camera-frame ends (3,) and radii in metres."""

    start: Array
    end: Array
    start_radius: float
    end_radius: float


class Ellipsoid(NamedTuple):
    """Camera-frame centre (3,), axes as columns (3, 3), half axes (3,) in metres.

    Only the part with a second local coordinate of at least `floor` half axes is drawn: -1 is the
    whole body, 0 its upper half.
    """

    centre: Array
    axes: Array
    radii: Array
    floor: float = -1.0


class Disc(NamedTuple):
    """A sphere in the image: centre and radius in pixels, depth in metres."""

    x: float
    y: float
    radius: float
    depth: float


class Window(NamedTuple):
    """The rows and columns that a shape may touch; pixel coordinates x (1, w) and y (h, 1)."""

    rows: slice
    columns: slice
    x: Float32
    y: Float32


class Texture(NamedTuple):
    """Two coordinates on a surface, each broadcastable to (h, w), and the metres in their units."""

    along: Float32
    across: Float32
    metres: tuple[float, float]


class Hit(NamedTuple):
    """What a window shows of a shape: mask, depth and brightness (h, w), and its texture."""

    mask: Mask
    depth: Float32
    shade: Float32
    texture: Texture


def project_sphere(camera: Camera, centre: Array, radius: float) -> Disc:
    """The image of a sphere, up to its slight stretch away from the optical axis."""
    (x, y, depth), (middle_x, middle_y) = centre.tolist(), camera.centre
    scale = camera.focal / depth
    return Disc(middle_x + x * scale, middle_y + y * scale, radius * scale, depth)


def sphere_hit(window: Window, disc: Disc, focal: float, light: Float32) -> Hit:
    """Intersect a sphere with the rays of a window, treated as parallel."""
    x, y = window.x - np.float32(disc.x), window.y - np.float32(disc.y)
    metres = disc.depth / focal
    inside = (np.float32(disc.radius**2) - x * x) - y * y
    bulge = np.sqrt(np.maximum(inside, 0.0))
    depth = np.float32(disc.depth) - bulge * np.float32(metres)
    cosine = (x * light[0] + y * light[1]) - bulge * light[2]
    cosine *= np.float32(1 / disc.radius)
    return Hit(inside > 0.0, depth, _brightness(cosine), Texture(y, x, (metres, metres)))


def capsule_hit(window: Window, start: Disc, end: Disc, focal: float, light: Float32) -> Hit:
    """Intersect a capsule with the rays of a window, treated as parallel.

    The axis point that a pixel belongs to is its projection on the axis, moved by the taper: the
    surface of a cone of half angle alpha leans by tan(alpha) times the distance from the axis.
    """
    length = math.dist(start[:2], end[:2])
    along_x, along_y = (end.x - start.x) / length, (end.y - start.y) / length
    x, y = window.x - np.float32(start.x), window.y - np.float32(start.y)
    along = x * np.float32(along_x) + y * np.float32(along_y)
    across = y * np.float32(along_x) - x * np.float32(along_y)
    narrowing = start.radius - end.radius
    taper = narrowing / math.sqrt(length * length - narrowing * narrowing)
    share = np.abs(across)
    share *= np.float32(-taper)
    share += along
    share *= np.float32(1 / length)
    np.minimum(np.maximum(share, 0.0, out=share), 1.0, out=share)
    past = along - share * np.float32(length)
    radius = np.float32(start.radius) - share * np.float32(narrowing)
    inside = radius * radius
    inside -= past * past
    inside -= across * across
    bulge = np.sqrt(np.maximum(inside, 0.0))
    metres = start.depth / focal
    depth = share * np.float32(end.depth - start.depth) + np.float32(start.depth)
    depth -= bulge * np.float32(metres)
    cosine = past * np.float32(light[0] * along_x + light[1] * along_y)
    cosine += across * np.float32(light[1] * along_x - light[0] * along_y)
    cosine -= bulge * light[2]
    cosine /= radius
    return Hit(inside > 0.0, depth, _brightness(cosine), Texture(along, across, (metres, metres)))


def ellipsoid_outline(camera: Camera, ellipsoid: Ellipsoid) -> tuple[Array, Array]:
    """Image box of an ellipsoid: the lines x = const and y = const that touch its dual conic.

    Returns:
        The (2,) least and greatest image points.
    """
    centre, axes, radii, _ = ellipsoid
    dual = (axes * radii**2) @ axes.T - np.outer(centre, centre)
    middle, size = dual[:2, 2] / dual[2, 2], np.diag(dual)[:2] / dual[2, 2]
    half = np.sqrt(np.maximum(middle * middle - size, 0.0))
    optical = np.array(camera.centre)
    return optical + camera.focal * (middle - half), optical + camera.focal * (middle + half)


def ellipsoid_hit(window: Window, ellipsoid: Ellipsoid, camera: Camera, light: Float32) -> Hit:
    """Intersect an ellipsoid with the rays of a window, exactly.

    In the frame where the ellipsoid is the unit sphere, |origin + depth direction| = 1.
    """
    centre, axes, radii, floor = ellipsoid
    centre_x, centre_y = camera.centre
    x = (window.x - np.float32(centre_x)) * np.float32(1 / camera.focal)
    y = (window.y - np.float32(centre_y)) * np.float32(1 / camera.focal)
    to_unit = axes.T / radii[:, None]
    origin = -to_unit @ centre
    a, b = _quadratic(to_unit.T @ to_unit, x, y), _plane(to_unit.T @ origin, x, y)
    discriminant = b * b - a * np.float32(origin @ origin - 1.0)
    mask = discriminant > 0.0
    depth = (b + np.sqrt(np.maximum(discriminant, 0.0))) / -a
    unit = [
        _plane(row, x, y) * depth + np.float32(start)
        for row, start in zip(to_unit, origin, strict=True)
    ]
    cosine, size = np.zeros_like(depth), np.zeros_like(depth)
    weights = (to_unit @ light).astype(np.float32)
    for part, weight, radius in zip(unit, weights, radii.astype(np.float32), strict=True):
        cosine += part * weight
        size += np.square(part * (1 / radius))
    cosine /= np.sqrt(size)
    if floor > -1.0:
        mask &= unit[1] >= floor
    texture = Texture(unit[1], unit[0], (float(radii[1]), float(radii[0])))
    return Hit(mask, depth, _brightness(cosine), texture)


def _plane(coefficients: Array, x: Float32, y: Float32) -> Float32:
    """Coefficients (3,) times (x, y, 1) on the grid of a row x and a column y."""
    c = coefficients.astype(np.float32)
    return np.asarray(x * c[0] + (y * c[1] + c[2]))


def _quadratic(matrix: Array, x: Float32, y: Float32) -> Float32:
    """(x, y, 1) matrix (x, y, 1)^T on the grid of a row x and a column y."""
    m = matrix.astype(np.float32)
    in_x = x * x * m[0, 0] + x * (2 * m[0, 2])
    in_y = y * y * m[1, 1] + y * (2 * m[1, 2]) + m[2, 2]
    grid = x * (y * (2 * m[0, 1]))
    grid += in_x
    grid += in_y
    return np.asarray(grid)


def _brightness(cosine: Float32) -> Float32:
    """Half-Lambert shading of the cosine between surface and light; overwrites its argument."""
    cosine *= np.float32(_DIFFUSE / 2)
    cosine += np.float32(_AMBIENT + _DIFFUSE / 2)
    return cosine
