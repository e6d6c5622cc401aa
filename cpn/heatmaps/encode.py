"""Points -> target heatmaps, for a whole batch at once on the points' device.

Two families. `gaussian`: peak 1, centred on the point's sub-cell position. `blurred_one_hot`: what
the CPN implementations train on, 1 in the point's cell, blurred and scaled to a peak of 255.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor

from cpn.geometry.crop import crop_to_heatmap
from cpn.heatmaps.blur import Border, blur_rows

HeatmapFamily = Literal["gaussian", "blurred_one_hot"]
Stride = float | tuple[float, float]


def gaussian_heatmaps(
    points_crop: Tensor, drawn: Tensor, *, size_hw: tuple[int, int], stride: Stride, sigma: float
) -> Tensor:
    """Gaussians of peak 1 centred on the points, which need not be cell centres.

    Args:
        points_crop: (N, K, 2) x, y in the crop frame.
        drawn: (N, K) bool; the heatmaps of the others are zero.
        size_hw: (h, w) of the heatmaps.
        stride: crop pixels per cell, or (along y, along x).
        sigma: in cells.

    Returns:
        (N, K, h, w) float32. A point outside the map leaves only its tail.
    """
    column, row = _heatmap_columns_and_rows(points_crop, stride)
    along_x = _gaussian_profile(column, drawn, size_hw[1], sigma)
    along_y = _gaussian_profile(row, drawn, size_hw[0], sigma)
    return along_y.unsqueeze(-1) * along_x.unsqueeze(-2)


def blurred_one_hot_heatmaps(
    points_crop: Tensor,
    drawn: Tensor,
    *,
    size_hw: tuple[int, int],
    stride: Stride,
    kernel_size: int,
    border: Border = "zero",
) -> Tensor:
    """One-hot maps of the points' cells, Gaussian-blurred and scaled to a peak of 255.

    The original takes cell floor(x / stride), as if x were an edge coordinate, and wraps negative
    cells around: by the pixel rule its target for x is ours for x - 0.5, and outside is nothing.

    Args:
        points_crop: (N, K, 2) x, y in the crop frame.
        drawn: (N, K) bool; the heatmaps of the others are zero, and of points outside the map.
        size_hw: (h, w) of the heatmaps.
        stride: crop pixels per cell, or (along y, along x).
        kernel_size: odd, of the blur (CPN at 256x192: 15, 11, 9, 7 from coarse to fine).
        border: "reflect" draws as the original code does, which pulls a peak one cell off the
            map's edge onto it; "zero" leaves it in its cell.

    Returns:
        (N, K, h, w) float32.
    """
    column, row = _heatmap_columns_and_rows(points_crop, stride)
    along_x = _one_hot_profile(column, drawn, size_hw[1], kernel_size, border)
    along_y = _one_hot_profile(row, drawn, size_hw[0], kernel_size, border)
    return 255.0 * along_y.unsqueeze(-1) * along_x.unsqueeze(-2)


@dataclass(frozen=True)
class HeatmapEncoder:
    """Draws targets of one family with an explicit width per level.

    Args:
        family: "gaussian" or "blurred_one_hot".
        widths: per level ("p2" … "p7", "refined"), sigma in cells or the blur's kernel size.
        border: of the blur, see `blurred_one_hot_heatmaps`; Gaussians have none.

    Raises:
        ValueError: an unknown family or border, no level, a sigma <= 0 or a kernel not odd.
    """

    family: HeatmapFamily
    widths: Mapping[str, float]
    border: Border = "zero"

    def __post_init__(self) -> None:
        if self.family not in get_args(HeatmapFamily):
            raise ValueError(
                _choice_message("heatmap family", self.family, get_args(HeatmapFamily))
            )
        if self.border not in get_args(Border):
            raise ValueError(_choice_message("heatmap border", self.border, get_args(Border)))
        if not self.widths:
            raise ValueError("the heatmap encoder has no level: give a width per level")
        for level, width in self.widths.items():
            _check_width(self.family, level, width)

    @property
    def peak(self) -> float:
        """The targets' highest value."""
        return heatmap_peak(self.family)

    def target(
        self,
        points_crop: Tensor,
        drawn: Tensor,
        *,
        level: str,
        size_hw: tuple[int, int],
        stride: Stride,
    ) -> Tensor:
        """The (N, K, h, w) float32 targets of one level.

        Args:
            points_crop: (N, K, 2) x, y in the crop frame.
            drawn: (N, K) bool.
            level: a key of `widths`.
            size_hw: (h, w) of the level's heatmaps.
            stride: crop pixels per cell, or (along y, along x).

        Raises:
            ValueError: the level has no width.
        """
        if level not in self.widths:
            raise ValueError(f"no heatmap width for level {level!r}; given: {list(self.widths)}")
        width = self.widths[level]
        if self.family == "gaussian":
            return gaussian_heatmaps(
                points_crop, drawn, size_hw=size_hw, stride=stride, sigma=width
            )
        return blurred_one_hot_heatmaps(
            points_crop,
            drawn,
            size_hw=size_hw,
            stride=stride,
            kernel_size=int(width),
            border=self.border,
        )


def heatmap_peak(family: HeatmapFamily) -> float:
    """The highest target value of a family: what a network trained on it gives when certain."""
    return 255.0 if family == "blurred_one_hot" else 1.0


def _choice_message(what: str, value: str, allowed: tuple[str, ...]) -> str:
    return f"unknown {what} {value!r}; allowed: {', '.join(allowed)}"


def _check_width(family: HeatmapFamily, level: str, width: float) -> None:
    if family == "gaussian" and not 0 < width < float("inf"):
        raise ValueError(f"heatmap width (sigma) of level {level!r} must be > 0 cells, not {width}")
    if family == "blurred_one_hot" and not (width > 0 and width % 2 == 1):
        raise ValueError(
            f"heatmap width (kernel size) of level {level!r} must be an odd number, not {width}"
        )


def _heatmap_columns_and_rows(points_crop: Tensor, stride: Stride) -> tuple[Tensor, Tensor]:
    stride_y, stride_x = stride if isinstance(stride, tuple) else (stride, stride)
    points = points_crop.float()
    return crop_to_heatmap(points[..., 0], stride_x), crop_to_heatmap(points[..., 1], stride_y)


def _gaussian_profile(centers: Tensor, drawn: Tensor, length: int, sigma: float) -> Tensor:
    """(N, K, length) values along one axis of Gaussians at `centers` (N, K) in cells."""
    # An undrawn point may be anything, NaN too; at infinity its profile is zero.
    centers = centers.masked_fill(~drawn, float("inf"))
    cells = torch.arange(length, device=centers.device, dtype=centers.dtype)
    return torch.exp((cells - centers.unsqueeze(-1)) ** 2 * (-0.5 / sigma**2))


def _one_hot_profile(
    centers: Tensor, drawn: Tensor, length: int, kernel_size: int, border: Border
) -> Tensor:
    """(N, K, length) values along one axis, highest 1, of one-hot cells after the blur."""
    cells = (centers + 0.5).floor()
    inside = drawn & (cells >= 0) & (cells < length)
    cells = cells.masked_fill(~inside, 0).long()
    profiles = _one_hot_profiles(length, kernel_size, border, centers.device)
    return profiles[cells] * inside.unsqueeze(-1)


@lru_cache(maxsize=64)
def _one_hot_profiles(
    length: int, kernel_size: int, border: Border, device: torch.device
) -> Tensor:
    """(length, length): row c is the blurred one-hot signal of cell c, scaled to a peak of 1."""
    profiles = blur_rows(length, kernel_size, border).T
    profiles = profiles / profiles.max(axis=1, keepdims=True)
    with torch.inference_mode(mode=False):
        return torch.tensor(profiles, dtype=torch.float32, device=device)
