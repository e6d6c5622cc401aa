"""A depth-buffered canvas for capsules, ellipsoids and flat shapes, shaded and textured.

Every pixel holds a depth in metres, a label and a brightness; `Canvas.compose` turns labels into
colours. A label belongs to one `Paint` of one owner, so the same buffers answer which surface of
which person is seen at a pixel.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from cpn.data.synthetic.camera import Camera
from cpn.data.synthetic.figure import Array
from cpn.data.synthetic.shapes import (
    Capsule,
    Ellipsoid,
    Float32,
    Hit,
    Texture,
    Window,
    capsule_hit,
    ellipsoid_hit,
    ellipsoid_outline,
    project_sphere,
    sphere_hit,
)

Colour = tuple[float, float, float]
Owner = tuple[int, str]

PATTERNS = ("plain", "bands", "stripes", "checks")
NOBODY = -1
_FAR = np.float32(1e9)
_NEAREST = 0.1  # metres; what is closer to the lens is not drawn
_SMALLEST_RADIUS = 0.4  # pixels; thinner lines of a face cannot be seen


class Paint(NamedTuple):
    """A surface: its RGB colours 0..255, a pattern of `PATTERNS`, its period in metres."""

    colour: Colour
    second: Colour
    pattern: str = "plain"
    period: float = 0.06


class Canvas:
    """The picture of one camera.

    Args:
        camera: gives the projection and the image size.
        light: (3,) camera-frame unit vector towards the light.
    """

    def __init__(self, camera: Camera, light: Array) -> None:
        self.camera = camera
        self.light = light.astype(np.float32)
        self.depth: Float32 = np.full(camera.size_hw, _FAR, np.float32)
        self.labels: NDArray[np.uint16] = np.zeros(camera.size_hw, np.uint16)
        self._shade: Float32 = np.zeros(camera.size_hw, np.float32)
        self._colours: list[Colour] = [(0.0, 0.0, 0.0)]
        self._owners: list[Owner] = [(NOBODY, "")]
        self._x = np.arange(camera.size_hw[1], dtype=np.float32)[None, :]
        self._y = np.arange(camera.size_hw[0], dtype=np.float32)[:, None]

    def owner(self, x: int, y: int) -> Owner:
        """(person, part) of the surface seen at a pixel; person -1 where there is none."""
        return self._owners[int(self.labels[y, x])]

    def owner_map(self) -> NDArray[np.int16]:
        """(H, W) person seen at every pixel, -1 where there is none."""
        return np.array([person for person, _ in self._owners], np.int16)[self.labels]

    def draw_capsule(self, capsule: Capsule, paint: Paint, owner: Owner) -> None:
        """Draw a capsule, in perspective up to the parallax inside its own thickness."""
        near, radius = capsule.start, capsule.start_radius
        if capsule.end[2] < capsule.start[2]:
            near, radius = capsule.end, capsule.end_radius
        if near[2] < _NEAREST or radius * self.camera.focal / near[2] < _SMALLEST_RADIUS:
            return
        start = project_sphere(self.camera, capsule.start, capsule.start_radius)
        end = project_sphere(self.camera, capsule.end, capsule.end_radius)
        ends, length = (start, end), math.dist(start[:2], end[:2])
        one_hides_the_other = length <= abs(start.radius - end.radius) + 0.01
        run = capsule.end - capsule.start
        if one_hides_the_other or abs(run[2]) > math.hypot(run[0], run[1]):
            # The end that faces the camera would be cut flat by `capsule_hit`.
            self._draw_sphere(near, radius, paint, owner)
        if one_hides_the_other:
            return
        low = [min(end.x - end.radius for end in ends), min(end.y - end.radius for end in ends)]
        high = [max(end.x + end.radius for end in ends), max(end.y + end.radius for end in ends)]
        window = self._window(low, high)
        if window is not None:
            hit = capsule_hit(window, start, end, self.camera.focal, self.light)
            self._put(window, hit, paint, owner)

    def draw_ellipsoid(self, ellipsoid: Ellipsoid, paint: Paint, owner: Owner) -> None:
        """Draw an ellipsoid exactly, by intersecting it with the ray of every pixel."""
        if ellipsoid.centre[2] - ellipsoid.radii.max() < _NEAREST:
            return
        window = self._window(*ellipsoid_outline(self.camera, ellipsoid))
        if window is not None:
            hit = ellipsoid_hit(window, ellipsoid, self.camera, self.light)
            self._put(window, hit, paint, owner)

    def draw_polygon(self, corners: Array, depth: float, paint: Paint) -> None:
        """Draw a flat shape that belongs to nobody: (P, 2) image points at one depth in metres."""
        window = self._window(corners.min(axis=0), corners.max(axis=0))
        if window is None:
            return
        mask = np.zeros((window.y.size, window.x.size), np.uint8)
        local = corners - (window.columns.start, window.rows.start)
        cv2.fillPoly(mask, [np.round(local * 16).astype(np.int32)], 1, shift=4)
        metres = depth / self.camera.focal
        flat = np.full(mask.shape, depth, np.float32)
        shade = np.repeat(
            np.linspace(1.0, 0.8, len(mask), dtype=np.float32)[:, None], mask.shape[1], axis=1
        )
        texture = Texture(window.y, window.x, (metres, metres))
        self._put(window, Hit(mask.astype(bool), flat, shade, texture), paint, (NOBODY, "object"))

    def compose(self, background: NDArray[np.uint8], folds: Float32) -> NDArray[np.uint8]:
        """Paint what was drawn over (H, W, 3) RGB; `folds` (H, W) about 1 varies the brightness.

        Edges between surfaces are smoothed, as a lens would.
        """
        drawn = np.flatnonzero(self.labels)
        shade = self._shade.ravel()[drawn] * folds.ravel()[drawn]
        colours = np.array(self._colours, np.float32)[self.labels.ravel()[drawn]]
        picture = background.copy()
        picture.reshape(-1, 3)[drawn] = np.minimum(colours * shade[:, None], 255)
        edges = np.zeros(self.labels.shape, np.uint8)
        edges[:, 1:] |= self.labels[:, 1:] != self.labels[:, :-1]
        edges[1:] |= self.labels[1:] != self.labels[:-1]
        edges[:, :-1] |= edges[:, 1:]
        edges[:-1] |= edges[1:]
        smooth = cv2.GaussianBlur(picture, (3, 3), 0)
        cv2.copyTo(smooth, edges, picture)
        return picture

    def _draw_sphere(self, centre: Array, radius: float, paint: Paint, owner: Owner) -> None:
        disc = project_sphere(self.camera, centre, radius)
        low = (disc.x - disc.radius, disc.y - disc.radius)
        high = (disc.x + disc.radius, disc.y + disc.radius)
        window = self._window(low, high)
        if window is not None:
            self._put(window, sphere_hit(window, disc, self.camera.focal, self.light), paint, owner)

    def _window(self, low: Sequence[float] | Array, high: Sequence[float] | Array) -> Window | None:
        height, width = self.camera.size_hw
        left, top = max(0, math.floor(low[0])), max(0, math.floor(low[1]))
        right, bottom = min(width, math.ceil(high[0]) + 1), min(height, math.ceil(high[1]) + 1)
        if left >= right or top >= bottom:
            return None
        rows, columns = slice(top, bottom), slice(left, right)
        return Window(rows, columns, self._x[:, columns], self._y[rows])

    def _put(self, window: Window, hit: Hit, paint: Paint, owner: Owner) -> None:
        """Write the pixels of a hit that are nearer than what is there."""
        place = (window.rows, window.columns)
        mask = hit.depth < self.depth[place]
        mask &= hit.mask
        label = len(self._colours)
        np.copyto(self.depth[place], hit.depth, where=mask)
        np.copyto(self._shade[place], hit.shade, where=mask)
        self._colours.append(paint.colour)
        self._owners.append(owner)
        if paint.pattern == "plain":
            np.copyto(self.labels[place], np.uint16(label), where=mask)
        else:
            self._colours.append(paint.second)
            self._owners.append(owner)
            bits = _pattern(paint, hit.texture) + np.uint16(label)
            np.copyto(self.labels[place], bits, where=mask)


def _pattern(paint: Paint, texture: Texture) -> NDArray[np.uint16]:
    """0 or 1 per pixel: which of the paint's two colours it has."""
    along, across = (
        np.floor(coordinate * np.float32(metres / paint.period)).astype(np.int32)
        for coordinate, metres in zip(texture[:2], texture.metres, strict=True)
    )
    bits = {"bands": along, "stripes": across, "checks": along + across}[paint.pattern]
    return np.asarray(bits & 1, np.uint16)
