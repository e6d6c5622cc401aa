"""Colour changes and blanked rectangles: drawn with the crop, applied where the network runs.

A worker sends a matrix and a few rectangles per crop. A GPU changes a whole batch in less time than
a worker needs for one crop; on a CPU OpenCV does it, thirty times as fast as torch would.
"""

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cpn.data.augmentation import Augmentation

MAX_HOLES = 4
MID_GREY = 127.5
HOLE_SIDES = (0.05, 0.2)  # of the crop's
LUMA_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601, of R, G, B

# What changes nothing; not to be written to.
SAME_COLOUR = np.eye(3, 4, dtype=np.float32)
NO_HOLES = np.zeros((MAX_HOLES, 4), dtype=np.int32)


def draw_photometrics(
    augmentation: Augmentation, crop_hw: tuple[int, int], rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """One crop's colour matrix (3, 4) and rectangles (MAX_HOLES, 4), for `apply_photometrics`."""
    strengths = (augmentation.brightness, augmentation.contrast, augmentation.saturation)
    factors = 1.0 + np.array(strengths) * rng.uniform(-1.0, 1.0, 3)
    holes = NO_HOLES
    if augmentation.dropout_probability and rng.random() < augmentation.dropout_probability:
        holes = _draw_holes(rng, crop_hw)
    return colour_matrix(*factors.tolist()), holes


def _draw_holes(rng: np.random.Generator, crop_hw: tuple[int, int]) -> npt.NDArray[np.int32]:
    """(MAX_HOLES, 4) rectangles x0, y0, x1, y1 inside the crop, the last ones perhaps empty."""
    holes = NO_HOLES.copy()
    size_wh = np.array(crop_hw[::-1])
    for hole in holes[: rng.integers(1, MAX_HOLES + 1)]:
        sides = np.maximum(1, size_wh * rng.uniform(*HOLE_SIDES, 2)).astype(np.int64)
        hole[:2] = rng.integers(0, size_wh - sides + 1)
        hole[2:] = hole[:2] + sides
    return holes


def colour_matrix(brightness: float, contrast: float, saturation: float) -> npt.NDArray[np.float32]:
    """(3, 4) matrix of saturation, then contrast, then brightness; all 1 is the identity."""
    # brightness * (contrast * mixed + offset) of mixed = saturation * RGB + (1 - saturation) * grey
    gain = brightness * contrast
    grey = [gain * (1.0 - saturation) * weight for weight in LUMA_WEIGHTS]
    matrix = np.array([[*grey, brightness * (1.0 - contrast) * MID_GREY]] * 3, dtype=np.float32)
    matrix[[0, 1, 2], [0, 1, 2]] += gain * saturation
    return matrix


def apply_photometrics(crops: Tensor, colours: Tensor, holes: Tensor) -> Tensor:
    """Mixes the channels, rounds, and blanks the rectangles of a batch.

    On a CPU OpenCV computes with integers: a value may differ by 1 from the GPU's.

    Args:
        crops: (N, 3, H, W) uint8 RGB; not changed.
        colours: (N, 3, 4) float32: matrix on (R, G, B, 1); results are kept within 0..255.
        holes: (N, MAX_HOLES, 4) int32 x0, y0, x1, y1: pixels x0 <= x < x1, y0 <= y < y1 become
            black; without extent, none do.

    Returns:
        (N, 3, H, W) uint8, channels last in memory.
    """
    if crops.device.type == "cpu":
        return _on_cpu(crops, colours.numpy(), holes.numpy())
    pixels = crops.permute(0, 2, 3, 1)
    mixed = mix_channels(pixels, colours)
    return mixed.masked_fill(hole_mask(holes, pixels.shape[1:3])[..., None], 0).permute(0, 3, 1, 2)


def mix_channels(pixels: Tensor, colours: Tensor) -> Tensor:
    """(N, H, W, 3) uint8 pixels times (N, 3, 4) matrices, rounded to uint8 within 0..255."""
    count, height, width, _ = pixels.shape
    flat = pixels.reshape(count, height * width, 3).float()
    mixed = torch.baddbmm(colours[:, None, :, 3], flat, colours[:, :, :3].mT)
    return mixed.round_().clamp_(0, 255).to(torch.uint8).view(count, height, width, 3)


def hole_mask(holes: Tensor, size_hw: tuple[int, int] | torch.Size) -> Tensor:
    """(N, M, 4) rectangles -> (N, H, W) bool, where a pixel is in one of them."""
    rows = torch.arange(size_hw[0], device=holes.device)
    columns = torch.arange(size_hw[1], device=holes.device)
    x0, y0, x1, y1 = holes.unsqueeze(-1).unbind(-2)
    in_rows = (rows >= y0) & (rows < y1)
    in_columns = (columns >= x0) & (columns < x1)
    return (in_rows.unsqueeze(-1) & in_columns.unsqueeze(-2)).any(dim=1)


def _on_cpu(
    crops: Tensor, colours: npt.NDArray[np.float32], holes: npt.NDArray[np.int32]
) -> Tensor:
    changed = torch.empty_like(crops.permute(0, 2, 3, 1), memory_format=torch.contiguous_format)
    places, pixels = changed.numpy(), crops.permute(0, 2, 3, 1).numpy()
    for place, crop, colour, rectangles in zip(places, pixels, colours, holes, strict=True):
        if np.array_equal(colour, SAME_COLOUR):
            place[...] = crop
        else:
            cv2.transform(crop, colour, dst=place)
        for x0, y0, x1, y1 in rectangles[rectangles.any(axis=1)].tolist():
            place[y0:y1, x0:x1] = 0
    return changed.permute(0, 3, 1, 2)
