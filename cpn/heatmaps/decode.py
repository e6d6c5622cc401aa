"""Heatmaps -> points and scores, batched, the inverse of `cpn.heatmaps.encode`."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from cpn.heatmaps.blur import blur_heatmaps
from cpn.heatmaps.dark import dark_offsets
from cpn.heatmaps.encode import HeatmapFamily, heatmap_peak
from cpn.heatmaps.flip import merge_flipped

# Persons at a time on a CPU: their maps stay in its cache from merging to decoding.
_CACHED_PERSONS = 16

DecodeMethod = Literal["argmax", "quarter", "dark"]


class DecodedHeatmaps(NamedTuple):
    """What was read from (N, K, h, w) heatmaps.

    Attributes:
        points: (N, K, 2) float32 x, y in the heatmap frame.
        scores: (N, K) float32, the given heatmap's value (never blurred) at the rounded point.
    """

    points: Tensor
    scores: Tensor


@torch.no_grad()
def decode_heatmaps(
    heatmaps: Tensor, *, method: DecodeMethod, blur_kernel: int = 0
) -> DecodedHeatmaps:
    """Finds one point per heatmap.

    The points are finite whatever finite map comes in (zero, negative, flat), and lie on the map.

    Args:
        heatmaps: (N, K, h, w), after the flip test's merge.
        method: "argmax": the highest cell; "quarter": moved a quarter of a cell towards the second
            highest (CPN, section 4.1); "dark": Taylor expansion of the log of the blurred map
            around the highest cell (Zhang et al., CVPR 2020; see `cpn.heatmaps.dark`).
        blur_kernel: size of the Gaussian blur, 0 for none. CPN takes 21; DARK suggests the width
            of the targets, 11 at 64x48. "dark" takes its highest cell before the blur.

    Raises:
        ValueError: an unknown method, a kernel size neither 0 nor odd, or a map below 2x2 cells
            (5x5 for "dark").
    """
    with torch.autocast(heatmaps.device.type, enabled=False):
        return decoded_maps(heatmaps.float(), method=method, blur_kernel=blur_kernel)


def decoded_maps(maps: Tensor, *, method: DecodeMethod, blur_kernel: int = 0) -> DecodedHeatmaps:
    """`decode_heatmaps` of float32 maps, without any context: it can be traced into a graph."""
    _check_decode_arguments(maps, method, blur_kernel)
    if method == "dark":
        points = _dark_points(maps, blur_kernel)
    else:
        points = _peak_points(blur_heatmaps(maps, blur_kernel), quarter=method == "quarter")
    return DecodedHeatmaps(points, _value_at(maps, points))


def decode_flip_test(
    heatmaps: Tensor,
    flipped_heatmaps: Tensor,
    flip_permutation: Sequence[int],
    *,
    shift: bool,
    method: DecodeMethod,
    blur_kernel: int = 0,
) -> DecodedHeatmaps:
    """`decode_heatmaps` of `merge_flipped`, faster on a CPU.

    Args:
        heatmaps: (N, K, h, w) of the images.
        flipped_heatmaps: (N, K, h, w) of the mirrored images.
        flip_permutation: see `merge_flipped`.
        shift: see `merge_flipped`.
        method: see `decode_heatmaps`.
        blur_kernel: see `decode_heatmaps`.
    """
    at_a_time = _CACHED_PERSONS if heatmaps.device.type == "cpu" else max(1, len(heatmaps))
    pairs = zip(
        torch.split(heatmaps, at_a_time), torch.split(flipped_heatmaps, at_a_time), strict=True
    )
    parts = [
        decode_heatmaps(
            merge_flipped(plain, flipped, flip_permutation, shift=shift),
            method=method,
            blur_kernel=blur_kernel,
        )
        for plain, flipped in pairs
    ]
    return DecodedHeatmaps(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


def keypoint_confidence(scores: Tensor, family: HeatmapFamily) -> Tensor:
    """Heatmap values (any shape, from `decode_heatmaps`) over the targets' peak, within 0..1."""
    return (scores / heatmap_peak(family)).clamp(0.0, 1.0)


def rescoring_scores(scores: Tensor, family: HeatmapFamily) -> Tensor:
    """Turns heatmap values into the keypoint scores that rescoring a person takes.

    Args:
        scores: any shape, from `decode_heatmaps`.
        family: "gaussian" is `keypoint_confidence`; "blurred_one_hot" is CPN's score / 255 + 0.5,
            which may exceed 1 but is what its box rescoring expects.
    """
    if family == "blurred_one_hot":
        return scores / heatmap_peak(family) + 0.5
    return keypoint_confidence(scores, family)


def _check_decode_arguments(heatmaps: Tensor, method: str, blur_kernel: int) -> None:
    if method not in get_args(DecodeMethod):
        allowed = ", ".join(get_args(DecodeMethod))
        raise ValueError(f"unknown decode method {method!r}; allowed: {allowed}")
    if blur_kernel < 0 or (blur_kernel > 0 and blur_kernel % 2 == 0):
        raise ValueError(f"decode blur_kernel must be 0 (no blur) or odd, not {blur_kernel}")
    smallest = 5 if method == "dark" else 2
    if min(heatmaps.shape[-2:]) < smallest:
        raise ValueError(
            f"decoding by {method!r} needs heatmaps of at least {smallest}x{smallest} cells, "
            f"not {tuple(heatmaps.shape[-2:])}"
        )


def _highest_cells(flat_maps: Tensor) -> Tensor:
    """(N, K) int64 flat index of the highest of (N, K, h * w) cells."""
    jit: Any = torch.jit  # whose types do not name it
    is_traced = torch.compiler.is_exporting() or jit.is_tracing()
    if flat_maps.device.type == "cpu" and not is_traced:  # numpy is several times faster than torch
        return torch.as_tensor(flat_maps.numpy().argmax(-1))
    return flat_maps.argmax(-1)


def _cells_xy(flat_cells: Tensor, width: int) -> Tensor:
    """(..., 2) int64 column, row of flat indices."""
    return torch.stack([flat_cells % width, flat_cells // width], -1)


def _peak_points(maps: Tensor, *, quarter: bool) -> Tensor:
    """The highest cells, moved towards the second highest if asked; (N, K, 2) float32."""
    width = maps.shape[-1]
    flat_maps = maps.flatten(-2)
    highest = _highest_cells(flat_maps)
    points = _cells_xy(highest, width).float()
    if not quarter:
        return points
    without_highest = flat_maps.scatter(-1, highest.unsqueeze(-1), -float("inf"))
    second = _cells_xy(_highest_cells(without_highest), width)
    towards = second.float() - points
    distance: Tensor = torch.linalg.vector_norm(towards, dim=-1, keepdim=True)
    return points + 0.25 * towards / distance


def _dark_points(maps: Tensor, blur_kernel: int) -> Tensor:
    """The highest cells moved to the Taylor expansion's maximum; (N, K, 2) float32."""
    height, width = maps.shape[-2:]
    cells = _cells_xy(_highest_cells(maps.flatten(-2)), width)
    points = cells.float() + dark_offsets(maps, cells, blur_kernel)
    return points.clamp(min=-0.5).minimum(points.new_tensor([width - 0.5, height - 0.5]))


def _value_at(maps: Tensor, points: Tensor) -> Tensor:
    """(N, K) values of the maps at the points rounded to cells."""
    height, width = maps.shape[-2:]
    column = points[..., 0].round().long().clamp(0, width - 1)
    row = points[..., 1].round().long().clamp(0, height - 1)
    return maps.flatten(-2).gather(-1, (row * width + column).unsqueeze(-1)).squeeze(-1)
