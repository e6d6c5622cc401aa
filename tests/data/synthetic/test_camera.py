import numpy as np

from cpn.data.synthetic.camera import Camera, view_rotation

CAMERA = Camera(100.0, (101, 201))


def test_projection_by_hand() -> None:
    # The optical axis meets pixel (100, 50); 1 m at a depth of 4 m is 100 / 4 = 25 pixels.
    points = np.array([(0.0, 0, 4), (1, 2, 4), (-1, -0.5, 2)])
    np.testing.assert_allclose(CAMERA.project(points), [(100, 50), (125, 100), (50, 25)])


def test_unproject_inverts_project() -> None:
    point = np.array([0.3, -0.7, 2.5])
    np.testing.assert_allclose(CAMERA.unproject(CAMERA.project(point), 2.5), point)


def test_a_frontal_view_shows_the_left_side_on_the_right() -> None:
    left, up, forward = view_rotation(0, 0, 0).T
    np.testing.assert_allclose(left, (1, 0, 0), atol=1e-12)
    np.testing.assert_allclose(up, (0, -1, 0), atol=1e-12)
    np.testing.assert_allclose(forward, (0, 0, -1), atol=1e-12)  # towards the camera


def test_azimuth_elevation_and_roll_by_hand() -> None:
    np.testing.assert_allclose(view_rotation(180, 0, 0)[:, 2], (0, 0, 1), atol=1e-12)
    np.testing.assert_allclose(view_rotation(90, 0, 0)[:, 2], (1, 0, 0), atol=1e-12)
    np.testing.assert_allclose(view_rotation(0, 90, 0)[:, 1], (0, 0, -1), atol=1e-12)
    np.testing.assert_allclose(view_rotation(0, 0, 90)[:, 1], (1, 0, 0), atol=1e-12)


def test_views_are_rotations() -> None:
    rotation = view_rotation(37, 21, -8)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotation), 1)
