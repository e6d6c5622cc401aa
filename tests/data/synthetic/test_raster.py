import numpy as np
import pytest

from cpn.data.synthetic.camera import Camera
from cpn.data.synthetic.raster import NOBODY, Canvas, Paint
from cpn.data.synthetic.shapes import Capsule, Ellipsoid

CAMERA = Camera(100.0, (81, 101))  # the optical axis meets pixel (50, 40)
RED, BLUE = Paint((200, 0, 0), (200, 0, 0)), Paint((0, 0, 200), (0, 0, 200))


def canvas() -> Canvas:
    return Canvas(CAMERA, np.array([0.0, 0.0, -1.0]))


def sphere(x: float, y: float, z: float, radius: float) -> Capsule:
    return Capsule(np.array([x, y, z]), np.array([x, y, z]), radius, radius)


def test_an_empty_canvas_shows_nobody() -> None:
    empty = canvas()
    assert empty.owner(3, 4) == (NOBODY, "")
    assert np.all(empty.owner_map() == NOBODY)
    background = np.arange(81 * 101 * 3, dtype=np.uint8).reshape(81, 101, 3)
    picture = empty.compose(background, np.ones((81, 101), np.float32))
    np.testing.assert_array_equal(picture, background)


def test_a_sphere_by_hand() -> None:
    drawn = canvas()
    drawn.draw_capsule(sphere(0, 0, 2, 0.2), RED, (0, "ball"))
    # 0.2 m at 2 m is 10 pixels; its nearest point is at 1.8 m.
    seen = drawn.owner_map() == 0
    assert seen[40, 50 - 9 : 50 + 10].all()
    assert not seen[40, [39, 61]].any()
    assert not seen[[29, 51], 50].any()
    assert drawn.depth[40, 50] == pytest.approx(1.8, abs=1e-5)
    assert drawn.owner(50, 40) == (0, "ball")


def test_an_ellipsoid_by_hand() -> None:
    drawn = canvas()
    radii = np.array([0.3, 0.1, 0.2])
    drawn.draw_ellipsoid(Ellipsoid(np.array([0, 0, 2.0]), np.eye(3), radii), RED, (0, "egg"))
    assert drawn.depth[40, 50] == pytest.approx(1.8, abs=1e-4)
    seen = drawn.owner_map() == 0
    # Tangents: x / z = 0.3 / sqrt(2^2 - 0.2^2) = 0.1508, y / z = 0.1 / sqrt(3.96) = 0.0503.
    columns, rows = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
    assert (columns[0], columns[-1]) == (35, 65)
    assert (rows[0], rows[-1]) == (35, 45)


@pytest.mark.parametrize("light", [(0.0, 0, -1), (-0.6, 0, -0.8)])
def test_surfaces_are_brightest_where_they_face_the_light(light: tuple[float, ...]) -> None:
    """Half-Lambert: 0.76 + 0.34 cos, so 110 of 100 in front and less elsewhere."""
    grey, flat = Paint((100, 100, 100), (100, 100, 100)), np.ones((81, 101), np.float32)
    limb = Capsule(np.array([-0.4, 0, 2.0]), np.array([0.4, 0, 2.0]), 0.2, 0.2)
    egg = Ellipsoid(np.array([0, 0, 2.0]), np.eye(3), np.array([0.3, 0.2, 0.2]))
    expected = round(100 * (0.76 - 0.34 * light[2]))  # at the point that faces the camera
    for shape in (limb, egg):
        drawn = Canvas(CAMERA, np.array(light))
        if isinstance(shape, Capsule):
            drawn.draw_capsule(shape, grey, (0, ""))
        else:
            drawn.draw_ellipsoid(shape, grey, (0, ""))
        picture = drawn.compose(np.zeros((81, 101, 3), np.uint8), flat)
        assert picture[40, 50, 0] == pytest.approx(expected, abs=2)
        assert picture[40, 40:61, 0].max() <= 111
        assert (picture[40, 40, 0] > picture[40, 60, 0] + 10) == (light[0] < 0 and shape is egg)


def test_half_an_ellipsoid_ends_at_its_floor() -> None:
    drawn = canvas()
    upright = np.diag([1.0, -1.0, -1.0])  # its second axis points up in the image
    half = Ellipsoid(np.array([0, 0, 2.0]), upright, np.full(3, 0.2), 0.0)
    drawn.draw_ellipsoid(half, RED, (0, "dome"))
    seen = drawn.owner_map() == 0
    assert seen[38, 50]
    assert not seen[42:].any()


def test_a_capsule_covers_its_axis_and_tapers() -> None:
    drawn = canvas()
    limb = Capsule(np.array([-0.4, 0, 2.0]), np.array([0.4, 0, 2.0]), 0.2, 0.1)
    drawn.draw_capsule(limb, RED, (0, "limb"))
    widths = (drawn.owner_map() == 0).sum(axis=0)
    assert widths[30] == pytest.approx(20, abs=2)
    assert widths[50] == pytest.approx(15, abs=2)
    assert widths[70] == pytest.approx(10, abs=2)
    assert widths[[18, 77]].tolist() == [0, 0]


def test_a_capsule_seen_end_on_is_its_near_disc() -> None:
    drawn = canvas()
    limb = Capsule(np.array([0, 0, 3.0]), np.array([0, 0, 1.0]), 0.2, 0.1)
    drawn.draw_capsule(limb, RED, (0, "limb"))
    assert drawn.depth[40, 50] == pytest.approx(0.9, abs=1e-5)
    assert (drawn.owner_map() == 0).sum() == pytest.approx(np.pi * 100, rel=0.05)


@pytest.mark.parametrize("near_first", [True, False])
def test_the_nearer_surface_hides_the_farther_in_either_order(near_first: bool) -> None:
    drawn = canvas()
    shapes = [(sphere(0, 0, 1.5, 0.1), RED, (0, "near")), (sphere(0, 0, 3, 0.6), BLUE, (1, "far"))]
    for shape, paint, owner in shapes if near_first else shapes[::-1]:
        drawn.draw_capsule(shape, paint, owner)
    assert drawn.owner(50, 40) == (0, "near")
    assert drawn.owner(65, 40) == (1, "far")
    picture = drawn.compose(np.zeros((81, 101, 3), np.uint8), np.ones((81, 101), np.float32))
    assert picture[40, 50, 0] > 150 > picture[40, 50, 2]
    assert picture[40, 65, 2] > 60 > picture[40, 65, 0]


def test_an_object_hides_what_is_behind_it_only() -> None:
    drawn = canvas()
    drawn.draw_capsule(sphere(0, 0, 2, 0.2), RED, (0, "ball"))
    left_half = np.array([(30, 20), (50, 20), (50, 60), (30, 60)], float)
    drawn.draw_polygon(left_half, 1.0, BLUE)
    drawn.draw_polygon(left_half + np.array([20, 0]), 3.0, BLUE)
    assert drawn.owner(45, 40) == (NOBODY, "object")
    assert drawn.owner(55, 40) == (0, "ball")
    assert drawn.owner(66, 40) == (NOBODY, "object")


def test_what_is_behind_the_camera_or_outside_the_frame_is_not_drawn() -> None:
    drawn = canvas()
    drawn.draw_capsule(sphere(0, 0, -2, 0.2), RED, (0, "ball"))
    drawn.draw_capsule(sphere(9, 0, 2, 0.2), RED, (0, "ball"))
    drawn.draw_capsule(sphere(0, 0, 0.05, 0.01), RED, (0, "fly"))
    egg = Ellipsoid(np.array([0, 0, -2.0]), np.eye(3), np.full(3, 0.2))
    drawn.draw_ellipsoid(egg, RED, (0, "egg"))
    drawn.draw_ellipsoid(egg._replace(centre=np.array([0, 9.0, 2])), RED, (0, "egg"))
    drawn.draw_polygon(np.array([(200.0, 0), (210, 0), (210, 10)]), 1.0, RED)
    assert not drawn.labels.any()


@pytest.mark.parametrize("pattern", ["bands", "stripes", "checks"])
def test_patterns_show_both_colours(pattern: str) -> None:
    drawn = canvas()
    limb = Capsule(np.array([-0.4, 0, 2.0]), np.array([0.4, 0, 2.0]), 0.2, 0.2)
    drawn.draw_capsule(limb, Paint((250, 0, 0), (0, 0, 250), pattern, 0.1), (0, "sleeve"))
    assert len(np.unique(drawn.labels)) == 3  # nothing and two colours
    along, across = drawn.labels[40, 30:70], drawn.labels[33:47, 52]
    assert (len(np.unique(along)) > 1) == (pattern != "stripes")
    assert (len(np.unique(across)) > 1) == (pattern != "bands")
