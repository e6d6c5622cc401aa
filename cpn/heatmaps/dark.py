"""DARK: the sub-cell maximum of a Gaussian-like heatmap (Zhang et al., CVPR 2020, section 3.1).

The log of a Gaussian is a parabola, so one Newton step from the highest cell finds its maximum.
Only a small patch around that cell is touched: the blur is needed on the 5x5 cells of the
derivatives' stencils, and reaches half a kernel further.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cpn.heatmaps.blur import gaussian_kernel

_STENCIL = 5
_LOG_FLOOR = 1e-10


class _AxisTables(NamedTuple):
    """For each cell c of an axis of length L, with a patch of P cells around it.

    Attributes:
        windows: (L, P) int64 cells of the patch; it never leaves the map.
        blurs: (L, 5, P) weights that blur the patch onto 5 stencil cells.
        derivatives: (L, 3, 5) weights on the stencil: value, first and second derivative at c.
    """

    windows: Tensor
    blurs: Tensor
    derivatives: Tensor


def dark_offsets(maps: Tensor, cells: Tensor, blur_kernel: int) -> Tensor:
    """Offsets from the highest cells to the maxima of the fitted Gaussians.

    Near the border the blur shrinks to what fits and derivatives become one-sided, so that a peak
    on the map's edge is found as well as any. Where the log map is not curved like a maximum the
    offset is 0.

    Args:
        maps: (N, K, h, w) float32, h and w >= 5.
        cells: (N, K, 2) int64 column, row of the highest cell of each map.
        blur_kernel: odd size of the blur before the log, 0 for none.

    Returns:
        (N, K, 2) float32 x, y in cells, each in [-1, 1].
    """
    # torch.jit.trace sees sides as tensors, which would make other tables, in single precision.
    height, width = int(maps.shape[-2]), int(maps.shape[-1])
    along_x = _axis_tables(width, blur_kernel, maps.device)
    along_y = _axis_tables(height, blur_kernel, maps.device)
    column, row = cells[..., 0], cells[..., 1]
    patches = _patches(maps, along_x, along_y, cells)
    stencil = along_y.blurs[row] @ patches @ along_x.blurs[column].mT
    log_map = stencil.clamp(min=_LOG_FLOOR).log()
    return _newton_step(along_y.derivatives[row] @ log_map @ along_x.derivatives[column].mT)


def _patches(maps: Tensor, along_x: _AxisTables, along_y: _AxisTables, cells: Tensor) -> Tensor:
    """(N, K, P_y, P_x) windows of the maps around the cells."""
    rows = along_y.windows[cells[..., 1]] * maps.shape[-1]
    flat_cells = rows.unsqueeze(-1) + along_x.windows[cells[..., 0]].unsqueeze(-2)
    return maps.flatten(-2).gather(-1, flat_cells.flatten(-2)).view(flat_cells.shape)


def _newton_step(derivatives: Tensor) -> Tensor:
    """(N, K, 2) step to the extremum, from (N, K, 3, 3) derivatives (order in y, order in x)."""
    slope_x, slope_y = derivatives[..., 0, 1], derivatives[..., 1, 0]
    curve_x, curve_y = derivatives[..., 0, 2], derivatives[..., 2, 0]
    mixed = derivatives[..., 1, 1]
    determinant = curve_x * curve_y - mixed**2
    # Thresholds far below a Gaussian's -1 / sigma^2 and far above rounding noise on a flat map.
    is_maximum = (curve_x < -1e-4) & (curve_y < -1e-4) & (determinant > 1e-8)
    step_x = (mixed * slope_y - curve_y * slope_x) / determinant
    step_y = (mixed * slope_x - curve_x * slope_y) / determinant
    step = torch.stack([step_x, step_y], -1).clamp(-1.0, 1.0)
    return torch.where(is_maximum.unsqueeze(-1), step, torch.zeros_like(step))


@lru_cache(maxsize=32)
def _axis_tables(length: int, blur_kernel: int, device: torch.device) -> _AxisTables:
    half = blur_kernel // 2
    patch = min(_STENCIL + 2 * half, length)
    starts = np.zeros(length, dtype=np.int64)
    blurs = np.zeros((length, _STENCIL, patch))
    derivatives = np.zeros((length, 3, _STENCIL))
    for cell in range(length):
        first = min(max(cell - 2, 0), length - _STENCIL)
        reach = min(half, first, length - _STENCIL - first)
        starts[cell] = min(max(first - half, 0), length - patch)
        for tap in range(_STENCIL):
            center = first + tap - starts[cell]
            blurs[cell, tap, center - reach : center + reach + 1] = gaussian_kernel(2 * reach + 1)
        derivatives[cell] = _derivative_weights(cell - first)
    with torch.inference_mode(mode=False):
        return _AxisTables(
            torch.tensor(starts[:, None] + np.arange(patch), device=device),
            torch.tensor(blurs, dtype=torch.float32, device=device),
            torch.tensor(derivatives, dtype=torch.float32, device=device),
        )


def _derivative_weights(position: int) -> npt.NDArray[np.float64]:
    """(3, 5) weights for value, first and second derivative at `position` of five cells.

    All are exact for parabolas. The middle ones are DARK's; on the map's edge they are one-sided.
    """
    if position > 2:
        mirrored_sign = np.array([[1.0], [-1.0], [1.0]])
        return mirrored_sign * _derivative_weights(4 - position)[:, ::-1]
    weights = [
        [[1, 0, 0, 0, 0], [-1.5, 2, -0.5, 0, 0], [1, -2, 1, 0, 0]],
        [[0, 1, 0, 0, 0], [-0.5, 0, 0.5, 0, 0], [1, -2, 1, 0, 0]],
        [[0, 0, 1, 0, 0], [0, -0.5, 0, 0.5, 0], [0.25, 0, -0.5, 0, 0.25]],
    ]
    return np.array(weights[position], dtype=np.float64)
