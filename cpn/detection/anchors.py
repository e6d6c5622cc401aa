"""Anchors and RoI levels from the strides that a pyramid declares.

torchvision guesses both from the shapes of the feature maps. Its guess is a cell of 61 or 114
pixels where P6 and P7 have 64 and 128 (a map of 25 cells halves to 13, and to 7), and it takes for
granted that no level is left out.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign, box_area

from cpn.models.layers import level_name

# Lin et al. 2017 (FPN), equation 1: a RoI of the canonical size belongs to P4. The small number is
# torchvision's, against rounding just below a whole level.
CANONICAL_LEVEL = 4
ROUNDING = 1e-6


@dataclass(frozen=True)
class AnchorDesign:
    """The boxes that every cell starts from.

    Attributes:
        sizes: root of the area in pixels, one for each pyramid level, fine to coarse.
        ratios: height / width.
        scales_per_octave: sizes between one level's and twice it: n gives size * 2^(i / n).
        declared_strides: anchors stand as far apart as the level's cells do; false: as far as
            torchvision puts them, the padded image's size // the map's.
    """

    sizes: tuple[int, ...]
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    scales_per_octave: int = 1
    declared_strides: bool = True

    @property
    def per_cell(self) -> int:
        """How many there are in every cell."""
        return len(self.ratios) * self.scales_per_octave


class PyramidAnchors(AnchorGenerator):  # type: ignore[misc]
    """The anchors of every pyramid level, always in float32.

    torchvision's are of the features' type; in bfloat16 a box near pixel 1000 moves by up to 4.

    Args:
        strides: pixels per cell by level, ascending.
        design: sizes and ratios.

    Raises:
        ValueError: not one size for each level.
    """

    def __init__(self, strides: Mapping[int, int], design: AnchorDesign) -> None:
        if len(design.sizes) != len(strides):
            raise ValueError(
                f"anchors.sizes has {len(design.sizes)} sizes, {list(design.sizes)}, for the "
                f"{len(strides)} levels {list(strides)}: give one for each"
            )
        octave = [2 ** (i / design.scales_per_octave) for i in range(design.scales_per_octave)]
        # Whole pixels, rounded down: torchvision's, which published weights have learned from.
        sizes = tuple(tuple(int(size * scale) for scale in octave) for size in design.sizes)
        super().__init__(sizes, (design.ratios,) * len(sizes))
        self.strides = tuple(strides.values())
        self.declared_strides = design.declared_strides

    def forward(self, image_list: ImageList, feature_maps: Sequence[Tensor]) -> list[Tensor]:
        """Padded images and their L maps (N, C, h_l, w_l) -> N times (A, 4), xyxy in pixels.

        Anchors stand level after level, in a level row after row, in a cell ratio after ratio.
        """
        grids = [(feature.shape[-2], feature.shape[-1]) for feature in feature_maps]
        height, width = image_list.tensors.shape[-2:]
        steps = (
            [(stride, stride) for stride in self.strides]
            if self.declared_strides
            else [(height // rows, width // columns) for rows, columns in grids]
        )
        self.set_cell_anchors(torch.float32, feature_maps[0].device)
        anchors = torch.cat(self.grid_anchors(grids, steps))
        return [anchors] * len(image_list.image_sizes)


class LevelByStride:
    """Which map a RoI is pooled from: equation 1 of FPN, for any ascending strides.

    A RoI of `canonical_size` belongs to stride 16, one of half the size to stride 8, and so on. If
    that level is left out it goes to the next finer one there is, otherwise to the finest.

    Args:
        strides: of the maps, ascending.
        canonical_size: root of the area in pixels; 224 in the paper, ImageNet's.
    """

    def __init__(self, strides: Sequence[int], *, canonical_size: float) -> None:
        self.levels = [math.log2(stride) for stride in strides]
        self.canonical_size = canonical_size

    def __call__(self, boxes: Sequence[Tensor]) -> Tensor:
        """Boxes (R_i, 4) xyxy of each image -> (sum R_i,) int64 indices of maps."""
        size = torch.sqrt(torch.cat([box_area(part) for part in boxes]))
        level = torch.floor(CANONICAL_LEVEL + torch.log2(size / self.canonical_size) + ROUNDING)
        present = torch.tensor(self.levels, dtype=level.dtype, device=level.device)
        reached = (level[:, None] >= present[None, :]).sum(dim=1)
        return (reached - 1).clamp(min=0)


def roi_align_on(
    strides: Mapping[int, int], *, output_size: int, canonical_size: float
) -> MultiScaleRoIAlign:
    """RoIAlign on some levels of a pyramid, two samples per cell and direction (Mask R-CNN).

    Args:
        strides: of the levels to pool from, ascending.
        output_size: cells in each direction.
        canonical_size: see `LevelByStride`.
    """
    pool = MultiScaleRoIAlign(
        [level_name(level) for level in strides], output_size=output_size, sampling_ratio=2
    )
    # Where they are set it does not guess them.
    pool.scales = [1 / stride for stride in strides.values()]
    pool.map_levels = LevelByStride(list(strides.values()), canonical_size=canonical_size)
    return pool
