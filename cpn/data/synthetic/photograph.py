"""What a camera does to a picture: exposure, colour cast, uneven light, blur and noise."""

import cv2
import numpy as np
from numpy.typing import NDArray

from cpn.data.synthetic.background import Picture, brightened

_NOISE_LEVELS = 256


def photograph(rng: np.random.Generator, picture: Picture) -> Picture:
    """Return an (H, W, 3) RGB picture as a camera would deliver it."""
    exposed = np.asarray(cv2.LUT(picture, _tone_curves(rng)), np.uint8)
    if rng.random() < 0.4:
        exposed = _shaded(rng, exposed)
    if rng.random() < 0.3:
        blurred = cv2.GaussianBlur(exposed, (0, 0), float(rng.uniform(0.3, 0.9)))
        exposed = np.asarray(blurred, np.uint8)
    elif rng.random() < 0.05:
        exposed = np.asarray(cv2.filter2D(exposed, -1, _motion_kernel(rng)), np.uint8)
    if rng.random() < 0.6:
        exposed = _noisy(rng, exposed)
    return exposed


def _tone_curves(rng: np.random.Generator) -> NDArray[np.uint8]:
    """(1, 256, 3) lookup table: contrast, gamma, brightness and a cast per channel."""
    levels = np.linspace(0.0, 1.0, 256)[:, None]
    gamma = float(np.exp(rng.normal(0, 0.12)))
    contrast, brightness = float(rng.uniform(0.8, 1.15)), float(rng.normal(0, 0.05))
    cast = np.exp(rng.normal(0, 0.04, 3))
    curves = ((levels**gamma - 0.5) * contrast + 0.5 + brightness) * cast
    return np.asarray(np.clip(curves * 255, 0, 255), np.uint8)[None]


def _shaded(rng: np.random.Generator, picture: Picture) -> Picture:
    """Multiply by a smooth field of light between 0.75 and 1.2."""
    height, width = picture.shape[:2]
    grid = rng.uniform(0.75, 1.2, (3, 3)).astype(np.float32)
    field = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return brightened(picture, np.asarray(field, np.float32))


def _motion_kernel(rng: np.random.Generator) -> NDArray[np.float32]:
    """(7, 7) kernel of a straight move of three to seven pixels."""
    kernel = np.zeros((7, 7), np.float32)
    angle, reach = float(rng.uniform(0, np.pi)), float(rng.uniform(1, 3))
    step = np.array([np.cos(angle), np.sin(angle)]) * reach
    start, end = (np.round(3 + sign * step).astype(int).tolist() for sign in (-1, 1))
    cv2.line(kernel, start, end, 1.0)
    return np.asarray(kernel / kernel.sum(), np.float32)


def _noisy(rng: np.random.Generator, picture: Picture) -> Picture:
    """Add sensor noise of a strength of up to 5 grey levels."""
    strength = float(rng.uniform(1, 5))
    table = np.sort(rng.normal(0, strength, _NOISE_LEVELS))
    grains = rng.integers(0, _NOISE_LEVELS, picture.shape, dtype=np.uint8)
    noise = cv2.LUT(grains, table.round().astype(np.int8).view(np.uint8)).view(np.int8)
    return np.asarray(cv2.add(picture, noise, dtype=cv2.CV_8U), np.uint8)
