"""Gaussian kernels by size, and blurring along one axis as a matrix product.

The sizes and their widths are those of the CPN implementations (OpenCV's rule): a kernel of odd
size k has sigma = 0.3 ((k - 1) / 2 - 1) + 0.8; sizes 7 and 9 are integer tables instead.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

FloatArray = npt.NDArray[np.float64]
Border = Literal["zero", "reflect"]

_INTEGER_KERNELS = {
    7: (8, 28, 56, 72, 56, 28, 8),
    9: (4, 13, 30, 51, 60, 51, 30, 13, 4),
}


def gaussian_kernel(size: int) -> FloatArray:
    """The (size,) weights of a Gaussian blur; they sum to 1.

    Raises:
        ValueError: the size is not a positive odd number.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"a Gaussian kernel needs a positive odd size, not {size}")
    if size in _INTEGER_KERNELS:
        return np.array(_INTEGER_KERNELS[size]) / 256.0
    half = (size - 1) // 2
    sigma = 0.3 * (half - 1) + 0.8
    weights = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * sigma**2))
    return np.asarray(weights / weights.sum())


def blur_rows(length: int, kernel_size: int, border: Border) -> FloatArray:
    """(length, length) matrix B, with B @ signal the blurred signal.

    Args:
        length: cells along the axis.
        kernel_size: odd, see `gaussian_kernel`.
        border: what lies outside: zeros, or the signal mirrored about its first and last cell
            (which are not repeated), as the original CPN code does when it draws targets.
    """
    rows = np.zeros((length, length))
    half = kernel_size // 2
    cells = np.arange(length)
    for tap, weight in zip(range(-half, half + 1), gaussian_kernel(kernel_size), strict=True):
        sources = cells + tap
        if border == "reflect":
            period = max(2 * (length - 1), 1)
            sources = np.abs((sources + length - 1) % period - (length - 1))
        inside = (sources >= 0) & (sources < length)
        np.add.at(rows, (cells[inside], sources[inside]), weight)
    return rows


@lru_cache(maxsize=64)
def blur_matrix(length: int, kernel_size: int, device: torch.device) -> Tensor:
    """`blur_rows` with a zero border, float32 on a device. Shared: never change it in place."""
    with torch.inference_mode(mode=False):
        rows = blur_rows(length, kernel_size, "zero")
        return torch.tensor(rows, dtype=torch.float32, device=device)


def blur_heatmaps(heatmaps: Tensor, kernel_size: int) -> Tensor:
    """Gaussian blur of (N, K, h, w) float32 heatmaps, with zeros outside the map.

    A reflecting border would pull peaks onto the map's edge. Kernel size 0 means no blur.
    """
    if kernel_size == 0:
        return heatmaps
    # torch.jit.trace sees sides as tensors, which numpy cannot compute with.
    height, width = int(heatmaps.shape[-2]), int(heatmaps.shape[-1])
    rows = blur_matrix(height, kernel_size, heatmaps.device)
    columns = blur_matrix(width, kernel_size, heatmaps.device)
    return rows @ heatmaps @ columns.T
