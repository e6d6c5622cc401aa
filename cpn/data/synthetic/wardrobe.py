"""What a figure wears and how it looks: skin, hair, garments, their colours and patterns."""

import colorsys
from typing import NamedTuple

import numpy as np

from cpn.data.synthetic.raster import PATTERNS, Colour, Paint

SLEEVES = ("none", "short", "long")
LEGWEAR = ("trousers", "shorts", "skirt", "bare")
HAIRCUTS = ("short", "long", "bun", "bald")
HEADGEAR = ("none", "cap", "hat")

_SKIN: tuple[Colour, ...] = (
    (245, 212, 190),
    (234, 192, 160),
    (219, 170, 130),
    (194, 140, 102),
    (158, 106, 72),
    (120, 78, 54),
    (86, 56, 42),
)
_HAIR: tuple[Colour, ...] = (
    (28, 22, 20),
    (52, 36, 26),
    (92, 62, 38),
    (140, 98, 52),
    (206, 170, 104),
    (150, 62, 34),
    (170, 168, 166),
)
_DARK_LIPS = np.array([150.0, 60.0, 62.0])


class Outfit(NamedTuple):
    """The looks of one figure; `ease` is how much wider than the limb its clothes are."""

    skin: Paint
    lips: Paint
    hair: Paint
    top: Paint
    bottom: Paint
    shoes: Paint
    hat: Paint
    sleeves: str
    legwear: str
    haircut: str
    headgear: str
    beard: bool
    backpack: Paint | None
    ease: float


def sample_outfit(rng: np.random.Generator) -> Outfit:
    """Draw an outfit."""
    skin = _jitter(rng, _SKIN[rng.integers(len(_SKIN))], 8)
    lips = _solid(0.55 * np.array(skin) + 0.45 * _DARK_LIPS)
    top = _cloth(rng, 0.4)
    legwear = _choose(rng, LEGWEAR, (0.58, 0.2, 0.16, 0.06))
    dress = legwear == "skirt" and rng.random() < 0.5
    return Outfit(
        skin=_solid(skin),
        lips=lips,
        hair=_solid(_jitter(rng, _HAIR[rng.integers(len(_HAIR))], 10)),
        top=top,
        bottom=top if dress else _cloth(rng, 0.2),
        shoes=_solid(skin) if rng.random() < 0.1 else _cloth(rng, 0.0),
        hat=_cloth(rng, 0.1),
        sleeves=_choose(rng, SLEEVES, (0.15, 0.42, 0.43)),
        legwear=legwear,
        haircut=_choose(rng, HAIRCUTS, (0.52, 0.28, 0.1, 0.1)),
        headgear=_choose(rng, HEADGEAR, (0.8, 0.12, 0.08)),
        beard=bool(rng.random() < 0.12),
        backpack=_cloth(rng, 0.1) if rng.random() < 0.1 else None,
        ease=float(rng.uniform(1.15, 1.65)),
    )


def _choose(rng: np.random.Generator, names: tuple[str, ...], chances: tuple[float, ...]) -> str:
    return names[int(rng.choice(len(names), p=chances))]


def _solid(colour: Colour | np.ndarray) -> Paint:
    red, green, blue = (float(channel) for channel in colour)
    return Paint((red, green, blue), (red, green, blue))


def _jitter(rng: np.random.Generator, colour: Colour, spread: float) -> Colour:
    red, green, blue = np.clip(np.array(colour) + rng.normal(0, spread, 3), 8, 250).tolist()
    return red, green, blue


def sample_colour(rng: np.random.Generator) -> Colour:
    """Draw an RGB colour 0..255: greys, muted and vivid ones alike."""
    saturation = float(rng.beta(1.2, 1.8))
    value = float(rng.uniform(0.12, 1.0))
    red, green, blue = colorsys.hsv_to_rgb(float(rng.random()), saturation, value)
    return red * 255, green * 255, blue * 255


def _cloth(rng: np.random.Generator, patterned: float) -> Paint:
    pattern = PATTERNS[rng.integers(1, len(PATTERNS))] if rng.random() < patterned else "plain"
    return Paint(sample_colour(rng), sample_colour(rng), pattern, float(rng.uniform(0.025, 0.1)))
