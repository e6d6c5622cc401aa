"""Coordinates are unbiased, flip test included; the conventions in use elsewhere are measured too.

Huang et al., "The Devil Is in the Details: Delving Into Unbiased Data Processing for Human Pose
Estimation", CVPR 2020: where a crop's width is counted in pixels, but positions in steps between
pixels, a mirrored map lies (s - 1) / s cells off. They count widths in steps (W - 1); we count
positions in unit squares (`cpn.geometry.crop`), which is as exact and keeps strides whole.
"""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from cpn.geometry.crop import crop_matrix, crop_to_heatmap, heatmap_to_crop, warp_crop
from cpn.heatmaps import (
    DecodeMethod,
    decode_heatmaps,
    gaussian_heatmaps,
    merge_flipped,
)

WIDTH, STRIDE = 192, 4
CELLS = WIDTH // STRIDE
Map = Callable[[Tensor], Tensor]


class Convention(NamedTuple):
    """How a crop's columns become a heatmap's, and back."""

    to_cells: Map
    to_crop: Map
    shift: bool = False


OURS = Convention(lambda u: crop_to_heatmap(u, STRIDE), lambda v: heatmap_to_crop(v, STRIDE))
STEPS = (WIDTH - 1) / (CELLS - 1)
CONVENTIONS = {
    "ours": OURS,
    "UDP": Convention(lambda u: u / STEPS, lambda v: v * STEPS),
    "u / s": Convention(lambda u: u / STRIDE, lambda v: v * STRIDE),
    "u / s, shifted": Convention(lambda u: u / STRIDE, lambda v: v * STRIDE, shift=True),
    "cell of floor(u / s)": Convention(lambda u: (u / STRIDE).floor(), lambda v: STRIDE * v + 2),
}


def bias(convention: Convention, method: DecodeMethod, *, flip: bool) -> tuple[float, float]:
    """Mean error and mean absolute error along x in crop pixels, of perfect heatmaps."""
    generator = torch.Generator().manual_seed(0)
    columns = 24 + (WIDTH - 48) * torch.rand(4096, 1, generator=generator)

    def heatmaps(u: Tensor) -> Tensor:
        centers = torch.stack([convention.to_cells(u), torch.full_like(u, 10.0)], -1)
        drawn = torch.ones(u.shape, dtype=torch.bool)
        return gaussian_heatmaps(centers, drawn, size_hw=(20, CELLS), stride=1.0, sigma=2.0)

    maps = heatmaps(columns)
    if flip:  # pixel u of the image is pixel W - 1 - u of its mirror image
        mirrored = heatmaps(WIDTH - 1 - columns)
        maps = merge_flipped(maps, mirrored, (0,), shift=convention.shift)
    found = decode_heatmaps(maps, method=method).points[..., 0]
    errors = convention.to_crop(found) - columns
    return float(errors.mean()), float(errors.abs().mean())


@pytest.mark.parametrize(
    ("name", "method", "plain", "flipped"),
    [
        ("ours", "dark", (0.0, 0.0), (0.0, 0.0)),
        ("ours", "quarter", (0.0, 0.5), (0.0, 0.5)),
        ("ours", "argmax", (0.0, 1.0), (0.0, 1.0)),
        ("UDP", "dark", (0.0, 0.0), (0.0, 0.0)),
        ("u / s", "dark", (0.0, 0.0), (-1.5, 1.5)),
        ("u / s, shifted", "dark", (0.0, 0.0), (0.5, 0.5)),
        ("cell of floor(u / s)", "dark", (0.0, 1.0), (0.5, 0.74)),
    ],
)
def test_error_of_perfect_heatmaps(
    name: str, method: DecodeMethod, plain: tuple[float, float], flipped: tuple[float, float]
) -> None:
    assert bias(CONVENTIONS[name], method, flip=False) == pytest.approx(plain, abs=0.03)
    assert bias(CONVENTIONS[name], method, flip=True) == pytest.approx(flipped, abs=0.03)


def test_the_crop_of_a_mirrored_photo_is_the_mirrored_crop() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (120, 90, 3), dtype=np.uint8)
    photo = cv2.GaussianBlur(photo, (5, 5), 0).astype(np.uint8)
    center, size = np.array([41.3, 63.7]), np.array([57.0, 76.0])
    crop = warp_crop(photo, crop_matrix(center, size, (64, 48)), (64, 48))
    mirrored_center = np.array([90 - 41.3, 63.7])  # edges mirror about the photo's width
    matrix = crop_matrix(mirrored_center, size, (64, 48))
    mirrored = warp_crop(np.ascontiguousarray(photo[:, ::-1]), matrix, (64, 48))
    difference = mirrored[:, ::-1].astype(int) - crop
    assert abs(difference).max() <= 3  # OpenCV interpolates at 1/32 of a pixel
    assert abs(difference.mean()) < 0.05
