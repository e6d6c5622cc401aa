import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import LevelMapper

from cpn.detection.anchors import AnchorDesign, LevelByStride, PyramidAnchors, roi_align_on

STRIDES = {3: 8, 4: 16, 5: 32, 6: 64, 7: 128}
SIZES = (32, 64, 128, 256, 512)


def _maps(padded_hw: tuple[int, int], levels: Sequence[int] = (3, 4, 5, 6, 7)) -> list[Tensor]:
    """Maps of a pyramid whose levels halve, rounding up."""
    return [torch.zeros(1, 1, *(math.ceil(side / 2**k) for side in padded_hw)) for k in levels]


def _images(padded_hw: tuple[int, int], number: int = 1) -> ImageList:
    return ImageList(torch.zeros(number, 3, *padded_hw), [padded_hw] * number)


def _square(size: float, corner: float = 0.0) -> Tensor:
    return torch.tensor([[corner, corner, corner + size, corner + size]])


def test_anchors_by_hand() -> None:
    design = AnchorDesign((16,), ratios=(1.0, 4.0))
    (anchors,) = PyramidAnchors({3: 8}, design)(_images((8, 16)), [torch.zeros(1, 1, 1, 2)])
    # Around the centre of each cell; the second is four times as high as it is wide.
    assert anchors.tolist() == [[-8, -8, 8, 8], [-4, -16, 4, 16], [0, -8, 16, 8], [4, -16, 12, 16]]
    assert design.per_cell == 2


def test_scales_divide_the_octave_in_whole_pixels() -> None:
    anchors = PyramidAnchors({3: 8, 4: 16}, AnchorDesign((32, 64), scales_per_octave=3))
    assert anchors.sizes == ((32, 40, 50), (64, 80, 101))


@pytest.mark.parametrize("padded_hw", [(800, 1088), (96, 160), (32, 32)])
def test_measured_strides_are_torchvisions(padded_hw: tuple[int, int]) -> None:
    design = AnchorDesign(SIZES, scales_per_octave=3, declared_strides=False)
    ours = PyramidAnchors(STRIDES, design)(_images(padded_hw, 2), _maps(padded_hw))
    theirs = AnchorGenerator(
        tuple((x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))) for x in SIZES),
        ((0.5, 1.0, 2.0),) * 5,
    )(_images(padded_hw, 2), _maps(padded_hw))
    assert len(ours) == 2
    for found, expected in zip(ours, theirs, strict=True):
        assert found.equal(expected)


def _steps(padded_hw: tuple[int, int], *, declared: bool) -> list[float]:
    """How far apart the first two anchors of each level are, across."""
    design = AnchorDesign(SIZES, ratios=(1.0,), declared_strides=declared)
    maps = _maps(padded_hw)
    (anchors,) = PyramidAnchors(STRIDES, design)(_images(padded_hw), maps)
    levels = anchors.split([feature[0, 0].numel() for feature in maps])
    return [float(level[1, 0] - level[0, 0]) for level in levels]


def test_declared_strides_hold_where_the_image_is_no_multiple_of_them() -> None:
    assert _steps((640, 800), declared=True) == [8, 16, 32, 64, 128]
    assert _steps((640, 800), declared=False) == [8, 16, 32, 61, 114]
    assert _steps((640, 768), declared=False) == [8, 16, 32, 64, 128]


def test_anchors_are_float32_whatever_the_features_are() -> None:
    maps = [feature.bfloat16() for feature in _maps((64, 2048))]
    (anchors,) = PyramidAnchors(STRIDES, AnchorDesign(SIZES))(_images((64, 2048)), maps)
    assert anchors.dtype == torch.float32
    # bfloat16 has no number between 1536 and 1544.
    assert 1541 in anchors.round().int()


def test_every_level_needs_a_size() -> None:
    message = r"anchors.sizes has 2 sizes, \[32, 64\], for the 5 levels \[3, 4, 5, 6, 7\]"
    with pytest.raises(ValueError, match=message):
        PyramidAnchors(STRIDES, AnchorDesign((32, 64)))


def test_regions_go_to_torchvisions_levels() -> None:
    torch.manual_seed(0)
    corners = torch.rand(500, 2) * 500
    boxes = torch.cat([corners, corners + torch.rand(500, 2) * 900], dim=1)
    edges = torch.cat([_square(size) for size in (0, 56, 111.99, 111.99998, 112, 224, 448, 2000)])
    ours = LevelByStride((4, 8, 16, 32), canonical_size=224)([boxes, edges])
    assert ours.equal(LevelMapper(2, 5)([boxes, edges]))
    assert set(ours.tolist()) == {0, 1, 2, 3}


def test_a_region_of_a_level_left_out_goes_to_the_next_finer_one() -> None:
    boxes = torch.cat([_square(size) for size in (50, 112, 223, 224, 448, 900)])
    assert LevelByStride((4, 16, 32), canonical_size=224)([boxes]).tolist() == [0, 0, 0, 1, 2, 2]
    assert LevelByStride((8, 32), canonical_size=224)([boxes]).tolist() == [0, 0, 0, 0, 1, 1]


def test_the_canonical_size_moves_all_levels() -> None:
    boxes = torch.cat([_square(size) for size in (56, 112)])
    assert LevelByStride((4, 8, 16, 32), canonical_size=112)([boxes]).tolist() == [1, 2]


def test_pooling_is_torchvisions_on_its_levels() -> None:
    torch.manual_seed(0)
    features = {f"p{k}": torch.rand(2, 3, 256 // 2**k, 320 // 2**k) for k in (2, 3, 4, 5, 6)}
    corners = torch.rand(40, 2) * 100
    boxes = torch.cat([corners, corners + torch.rand(40, 2) ** 2 * 400], dim=1)
    strides = {2: 4, 3: 8, 4: 16, 5: 32}
    ours = roi_align_on(strides, output_size=7, canonical_size=224)
    theirs = MultiScaleRoIAlign([f"p{k}" for k in strides], output_size=7, sampling_ratio=2)
    given = (features, [boxes[:25], boxes[25:]], [(256, 320), (250, 300)])
    assert ours(*given).equal(theirs(*given))


def test_pooling_reads_the_level_and_place_by_the_declared_stride() -> None:
    columns = torch.arange(16.0).expand(1, 1, 16, 16)
    features = {"p3": columns, "p5": 100 + columns[..., :4, :4]}
    pool = roi_align_on({3: 8, 5: 32}, output_size=1, canonical_size=56)
    boxes = torch.tensor([[32.0, 32, 48, 48], [0, 0, 112, 112]])
    # Pixels 32 to 48 are cells 4 to 6: their centre is column 5. The other one is of stride 32.
    pooled = pool(features, [boxes], [(128, 128)]).flatten()
    assert pooled.tolist() == pytest.approx([5, 101.75])
