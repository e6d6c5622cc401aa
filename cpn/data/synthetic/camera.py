"""A pinhole camera that looks at figures from any azimuth and elevation.

Camera frame, in metres: x right, y down, z forward (depth). Image points are in pixel-index
coordinates (see `cpn.geometry.crop`): the optical axis meets the centre of the pixel grid.
"""

from typing import NamedTuple

import numpy as np

from cpn.data.synthetic.figure import Array


class Camera(NamedTuple):
    """Focal length in pixels, image size in pixels, and the direction that light comes from."""

    focal: float
    size_hw: tuple[int, int]

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of the optical axis in the image, pixel-index coordinates."""
        return (self.size_hw[1] - 1) / 2, (self.size_hw[0] - 1) / 2

    def project(self, points: Array) -> Array:
        """(..., 3) camera-frame points, z > 0 -> (..., 2) image points."""
        return np.asarray(self.centre) + self.focal * points[..., :2] / points[..., 2:]

    def unproject(self, point_image: Array, depth: float) -> Array:
        """(2,) image point at a depth in metres -> (3,) camera-frame point."""
        xy = (point_image - np.asarray(self.centre)) * depth / self.focal
        return np.array([*xy, depth])


def view_rotation(azimuth: float, elevation: float, roll: float) -> Array:
    """(3, 3) rotation from the body frame to the camera frame.

    Args:
        azimuth: degrees by which the figure turns to its own left away from the camera; 0 is a
            frontal view, 180 a view of the back.
        elevation: degrees by which the camera looks down on the figure.
        roll: degrees of the camera's turn about its axis.
    """
    turn, look, tilt = np.radians((azimuth, elevation, roll))
    facing = np.diag([1.0, -1.0, -1.0])
    about_y = np.array(
        [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
    )
    about_x = np.array(
        [[1, 0, 0], [0, np.cos(look), -np.sin(look)], [0, np.sin(look), np.cos(look)]]
    )
    about_z = np.array(
        [[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]]
    )
    return np.asarray(about_z @ about_x @ facing @ about_y)
