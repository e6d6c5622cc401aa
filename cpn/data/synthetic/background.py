"""Cluttered backgrounds: surfaces, furniture, plants, facades and things shaped like limbs.

Every drawer paints one kind of thing somewhere on an (H, W, 3) RGB uint8 picture, in place.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from cpn.data.synthetic.wardrobe import sample_colour

Picture = NDArray[np.uint8]
Points = NDArray[np.float64]
Field = NDArray[np.float32]
_SHIFT = 4
_SKIN_LIKE = ((230, 190, 160), (205, 155, 120), (150, 100, 70), (110, 75, 55))


def paint_background(rng: np.random.Generator, size_hw: tuple[int, int]) -> Picture:
    """Draw a background: a backdrop with texture, then three to nine things."""
    picture = _backdrop(rng, size_hw)
    for _ in range(int(rng.integers(3, 10))):
        DRAWERS[rng.integers(len(DRAWERS))](rng, picture)
    return _grain(rng, picture)


def smooth_noise(rng: np.random.Generator, size_hw: tuple[int, int], cells: int) -> Field:
    """(H, W) float32 noise in 0..1 that changes over about 1 / `cells` of the height."""
    height, width = size_hw
    grid = rng.random((cells + 1, max(2, cells * width // height) + 1), dtype=np.float32)
    return np.asarray(cv2.resize(grid, (width, height)), np.float32)


def brightened(picture: Picture, factor: Field) -> Picture:
    """Multiply an (H, W, 3) picture by an (H, W) factor, saturating."""
    return np.asarray(cv2.multiply(picture, cv2.merge([factor] * 3), dtype=cv2.CV_8U), np.uint8)


def fill(picture: Picture, corners: Points, colour: tuple[float, float, float]) -> None:
    """Fill a polygon of (P, 2) image points, antialiased."""
    points = np.round(corners * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(picture, [points], colour, cv2.LINE_AA, _SHIFT)


def _backdrop(rng: np.random.Generator, size_hw: tuple[int, int]) -> Picture:
    """Two soft gradients that meet at a horizon (or one that fills the picture)."""
    height = size_hw[0]
    upper = _gradient(rng, size_hw)
    if rng.random() < 0.25:
        return upper
    lower = _gradient(rng, size_hw)
    horizon = int(rng.uniform(0.3, 0.9) * height)
    upper[horizon:] = lower[horizon:]
    if rng.random() < 0.6:
        _floor_lines(rng, upper, horizon)
    return upper


def _gradient(rng: np.random.Generator, size_hw: tuple[int, int]) -> Picture:
    height, width = size_hw
    cells = rng.integers(2, 6, 2)
    lightness, hue = rng.normal(0, 28, (*cells, 1)), rng.normal(0, 9, (*cells, 3))
    grid = np.clip(np.array(_muted(rng)) + lightness + hue, 0, 255)
    soft = cv2.resize(grid.astype(np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(soft, np.uint8)


def _muted(rng: np.random.Generator) -> tuple[float, float, float]:
    """A colour of walls, floors and furniture: seldom as vivid as clothes."""
    colour = sample_colour(rng)
    grey, share = sum(colour) / 3, float(rng.uniform(0.05, 0.5))
    red, green, blue = (grey + share * (channel - grey) for channel in colour)
    return red, green, blue


def _floor_lines(rng: np.random.Generator, picture: Picture, horizon: int) -> None:
    """Planks or tiles: lines to a vanishing point and rows that get denser towards it."""
    height, width = picture.shape[:2]
    colour = _muted(rng)
    vanishing = (rng.uniform(0, width), horizon - rng.uniform(5, 60))
    for x in np.arange(-2 * width, 3 * width, rng.uniform(15, 60)):
        slope = (vanishing[0] - x) / (height - vanishing[1])
        _line(picture, (x + slope * (height - horizon), horizon), (x, height), colour)
    if rng.random() < 0.5:
        for row in horizon + (height - horizon) / np.arange(1, 12) ** 1.2:
            _line(picture, (0, row), (width, row), colour)


def _grain(rng: np.random.Generator, picture: Picture) -> Picture:
    """Multiply by noise of two scales, as plaster, grass or cloth would."""
    strength = np.float32(rng.uniform(0.03, 0.22))
    coarse = smooth_noise(rng, picture.shape[:2], int(rng.integers(4, 12)))
    fine = smooth_noise(rng, picture.shape[:2], int(rng.integers(30, 110)))
    factor = (coarse + fine - np.float32(1.0)) * strength + np.float32(1.0)
    return brightened(picture, factor)


def _line(
    picture: Picture,
    start: tuple[float, float],
    end: tuple[float, float],
    colour: tuple[float, float, float],
    thickness: int = 1,
) -> None:
    ends = [tuple(round(value * (1 << _SHIFT)) for value in point) for point in (start, end)]
    cv2.line(picture, ends[0], ends[1], colour, thickness, cv2.LINE_AA, _SHIFT)


def _spot(rng: np.random.Generator, picture: Picture) -> tuple[float, float]:
    height, width = picture.shape[:2]
    return float(rng.uniform(-0.1, 1.1) * width), float(rng.uniform(-0.1, 1.1) * height)


def _span(rng: np.random.Generator, picture: Picture, low: float, high: float) -> float:
    """A length in pixels, drawn in fractions of the picture's height."""
    return float(rng.uniform(low, high) * picture.shape[0])


def _shade(colour: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
    red, green, blue = (min(255.0, channel * factor) for channel in colour)
    return red, green, blue


def _rectangle(x: float, y: float, width: float, height: float) -> Points:
    return np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)])


def _draw_box(rng: np.random.Generator, picture: Picture) -> None:
    """A crate, cupboard or building: three faces of a block."""
    (x, y), colour = _spot(rng, picture), _muted(rng)
    width, height = _span(rng, picture, 0.1, 0.5), _span(rng, picture, 0.1, 0.6)
    dx, dy = _span(rng, picture, -0.2, 0.2), _span(rng, picture, 0.02, 0.12)
    fill(picture, _rectangle(x, y, width, height), colour)
    top = np.array([(x, y), (x + width, y), (x + width + dx, y - dy), (x + dx, y - dy)])
    fill(picture, top, _shade(colour, 1.25))
    edge = x + width if dx > 0 else x
    side = np.array(
        [(edge, y), (edge + dx, y - dy), (edge + dx, y - dy + height), (edge, y + height)]
    )
    fill(picture, side, _shade(colour, 0.65))


def _draw_table(rng: np.random.Generator, picture: Picture) -> None:
    """A table or a chair: a slab on legs, sometimes with a back."""
    (x, y), colour = _spot(rng, picture), _muted(rng)
    width, height = _span(rng, picture, 0.15, 0.6), _span(rng, picture, 0.12, 0.4)
    slab = _span(rng, picture, 0.015, 0.05)
    depth = _span(rng, picture, 0.03, 0.1)
    top = [(x, y), (x + width, y), (x + width - depth, y - depth), (x + depth, y - depth)]
    for start in (x, x + width - slab, x + depth, x + width - depth - slab):
        fill(picture, _rectangle(start, y, slab, height), _shade(colour, 0.6))
    if rng.random() < 0.5:
        fill(
            picture,
            _rectangle(x + depth, y - height, width - 2 * depth, height),
            _shade(colour, 0.8),
        )
    fill(picture, np.array(top), _shade(colour, 1.2))
    fill(picture, _rectangle(x, y, width, slab), colour)


def _draw_facade(rng: np.random.Generator, picture: Picture) -> None:
    """A grid of rectangles: windows, shelves with books, bricks or tiles."""
    (x, y), wall = _spot(rng, picture), _muted(rng)
    rows, columns = (int(count) for count in rng.integers(2, 7, 2))
    width, height = _span(rng, picture, 0.2, 0.8), _span(rng, picture, 0.2, 0.7)
    fill(picture, _rectangle(x, y, width, height), wall)
    fixed = _muted(rng) if rng.random() < 0.6 else None
    step_x, step_y, gap = width / columns, height / rows, float(rng.uniform(0.08, 0.4))
    for row in range(rows):
        for column in range(columns):
            pane = _rectangle(
                x + (column + gap / 2) * step_x,
                y + (row + gap / 2) * step_y,
                step_x * (1 - gap),
                step_y * (1 - gap),
            )
            fill(picture, pane, fixed or sample_colour(rng))


def _draw_pole(rng: np.random.Generator, picture: Picture) -> None:
    """A lamp post, a trunk or a pipe: a long tapered bar, shaded along one side."""
    (x, y), colour = _spot(rng, picture), _muted(rng)
    length, width = _span(rng, picture, 0.4, 1.3), _span(rng, picture, 0.01, 0.07)
    lean = _span(rng, picture, -0.15, 0.15)
    for part, factor in ((1.0, 1.0), (0.45, 0.7)):
        bar = np.array(
            [
                (x, y),
                (x + width * part, y),
                (x + lean + 1.3 * width * part, y + length),
                (x + lean, y + length),
            ]
        )
        fill(picture, bar, _shade(colour, factor))


def _draw_plant(rng: np.random.Generator, picture: Picture) -> None:
    """Foliage: a heap of ellipses in shades of one colour."""
    (x, y), size = _spot(rng, picture), _span(rng, picture, 0.05, 0.25)
    colour = (rng.uniform(20, 110), rng.uniform(60, 170), rng.uniform(15, 80))
    for _ in range(int(rng.integers(8, 30))):
        centre = (round(x + rng.normal(0, size)), round(y + rng.normal(0, size)))
        axes = (
            max(1, round(rng.uniform(0.1, 0.5) * size)),
            max(1, round(rng.uniform(0.1, 0.4) * size)),
        )
        shade = _shade(colour, float(rng.uniform(0.5, 1.4)))
        cv2.ellipse(
            picture, centre, axes, float(rng.uniform(0, 180)), 0, 360, shade, -1, cv2.LINE_AA
        )


def _draw_jointed_bars(rng: np.random.Generator, picture: Picture) -> None:
    """Limb-like: two or three thick tapered bars that meet at joints, often skin-coloured."""
    point, width = np.array(_spot(rng, picture)), _span(rng, picture, 0.02, 0.07)
    skin_like = rng.random() < 0.5
    colour = _SKIN_LIKE[rng.integers(len(_SKIN_LIKE))] if skin_like else sample_colour(rng)
    for _ in range(int(rng.integers(1, 4))):
        direction = rng.normal(0, 1, 2)
        direction /= np.linalg.norm(direction) + 1e-6
        normal = np.array([-direction[1], direction[0]])
        end = point + direction * _span(rng, picture, 0.1, 0.3)
        bar = [point + normal * width / 2, end + normal * width / 3, end - normal * width / 3]
        fill(picture, np.array([*bar, point - normal * width / 2]), colour)
        cv2.circle(
            picture, np.round(end).astype(int).tolist(), round(width / 3), colour, -1, cv2.LINE_AA
        )
        point, width, colour = end, width * 0.8, _shade(colour, float(rng.uniform(0.85, 1.15)))


def _draw_ball(rng: np.random.Generator, picture: Picture) -> None:
    """A ball, a lamp or a sign; some have the colour and the size of a head."""
    x, y = _spot(rng, picture)
    colour = (
        _SKIN_LIKE[rng.integers(len(_SKIN_LIKE))] if rng.random() < 0.35 else sample_colour(rng)
    )
    radius = _span(rng, picture, 0.02, 0.12)
    stretch = float(rng.uniform(0.7, 1.3))
    for part, factor in ((1.0, 0.75), (0.85, 0.9), (0.55, 1.05)):
        axes = (max(1, round(radius * part)), max(1, round(radius * stretch * part)))
        offset = radius * (1 - part) * 0.5
        centre = (round(x - offset), round(y - offset))
        cv2.ellipse(picture, centre, axes, 0, 0, 360, _shade(colour, factor), -1, cv2.LINE_AA)


def _draw_stripes(rng: np.random.Generator, picture: Picture) -> None:
    """A fence, blinds, a ladder or wires: parallel lines."""
    (x, y), colour = _spot(rng, picture), _muted(rng)
    run = np.array([_span(rng, picture, -0.6, 0.6), _span(rng, picture, -0.6, 0.6)])
    gap, thickness = _span(rng, picture, 0.015, 0.08), int(rng.integers(1, 5))
    step = np.array([gap, 0.0]) if abs(run[1]) > abs(run[0]) else np.array([0.0, gap])
    for index in range(int(rng.integers(3, 14))):
        start = np.array((x, y)) + index * step
        end = start + run
        _line(picture, (start[0], start[1]), (end[0], end[1]), colour, thickness)


def _draw_letters(rng: np.random.Generator, picture: Picture) -> None:
    """A sign: letters on a board."""
    (x, y), size = _spot(rng, picture), float(rng.uniform(0.3, 1.2))
    text = "".join(chr(code) for code in rng.integers(48, 91, int(rng.integers(2, 8))))
    board = _rectangle(x - 4, y - 24 * size, 19 * size * len(text), 34 * size)
    fill(picture, board, sample_colour(rng))
    font = int(rng.integers(0, 5))
    place = (round(x), round(y))
    cv2.putText(picture, text, place, font, size, sample_colour(rng), 2, cv2.LINE_AA)


def _draw_poster(rng: np.random.Generator, picture: Picture) -> None:
    """A picture, screen or carpet: a rectangle of random patches."""
    (x, y), (height, width) = _spot(rng, picture), picture.shape[:2]
    left, top = max(0, round(x)), max(0, round(y))
    right = min(width, left + round(_span(rng, picture, 0.1, 0.5)))
    bottom = min(height, top + round(_span(rng, picture, 0.1, 0.5)))
    if right > left and bottom > top:
        spread = rng.normal(0, rng.uniform(10, 70), (*rng.integers(2, 9, 2), 3))
        patches = np.clip(np.array(_muted(rng)) + spread, 0, 255).astype(np.uint8)
        way = cv2.INTER_NEAREST if rng.random() < 0.5 else cv2.INTER_LINEAR
        picture[top:bottom, left:right] = cv2.resize(
            patches, (right - left, bottom - top), interpolation=way
        )


DRAWERS: tuple[Callable[[np.random.Generator, Picture], None], ...] = (
    *(_draw_box, _draw_box, _draw_table, _draw_table, _draw_facade, _draw_pole, _draw_plant),
    *(_draw_jointed_bars, _draw_jointed_bars, _draw_ball, _draw_stripes, _draw_letters),
    _draw_poster,
)
