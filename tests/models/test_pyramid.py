from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cpn.models.pyramid import FeaturePyramid, PyramidDesign

CHANNELS = {2: 4, 3: 6, 4: 8, 5: 10}
STRIDES = {2: 4, 3: 8, 4: 16, 5: 32}
SUM_ONLY = PyramidDesign(
    upsample="nearest", top_down_conv=False, lateral_activation=False, norm="none"
)


def _features(input_hw: tuple[int, int], levels: Sequence[int] = (2, 3, 4, 5)) -> dict[int, Tensor]:
    h, w = input_hw
    return {
        level: torch.randn(2, CHANNELS[level], -(-h // STRIDES[level]), -(-w // STRIDES[level]))
        for level in levels
    }


def _with_unit_convolutions(pyramid: nn.Module) -> nn.Module:
    """Every 1x1 copies, every 3x3 sums its window, no bias."""
    for layer in pyramid.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.ones_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return pyramid


def _one_channel(levels: Sequence[int], **options: Any) -> nn.Module:
    ones = dict.fromkeys(levels, 1)
    strides = {level: 2**level for level in levels}
    return _with_unit_convolutions(
        FeaturePyramid(ones, strides, levels=levels, channels=1, **options)
    )


def test_sum_by_hand() -> None:
    pyramid = _one_channel((2, 3), design=SUM_ONLY)
    fine = torch.arange(8.0).reshape(1, 1, 2, 4)
    coarse = torch.tensor([[[[10.0, 20.0]]]])
    out = pyramid({2: fine, 3: coarse})
    assert out[3].tolist() == [[[[10, 20]]]]
    assert out[2].tolist() == [[[[10, 11, 22, 23], [14, 15, 26, 27]]]]


def test_skipped_level_is_upsampled_four_times() -> None:
    pyramid = _one_channel((3, 5), design=SUM_ONLY)
    out = pyramid({3: torch.zeros(1, 1, 4, 8), 5: torch.tensor([[[[1.0, 2.0]]]])})
    assert out[3][0, 0, 0].tolist() == [1, 1, 1, 1, 2, 2, 2, 2]
    assert out[3].shape == (1, 1, 4, 8)


def test_top_down_convolution_and_lateral_activation_act() -> None:
    design = PyramidDesign(norm="none")
    pyramid = _one_channel((2, 3), design=design)
    nn.init.constant_(pyramid.get_parameter("top_down.p2.conv.weight"), 3.0)
    features = {2: torch.full((1, 1, 2, 2), -5.0), 3: torch.full((1, 1, 1, 1), 2.0)}
    assert pyramid(features)[2].unique().tolist() == [6.0]  # relu(-5) + 3 * 2
    assert "p3" not in dict(pyramid.get_submodule("top_down").named_children())


def test_there_is_no_relu_after_the_sum() -> None:
    pyramid = _one_channel((2, 3), design=SUM_ONLY)
    features = {2: torch.full((1, 1, 2, 2), 1.0), 3: torch.full((1, 1, 1, 1), -4.0)}
    assert pyramid(features)[2].unique().tolist() == [-3.0]


def test_without_the_top_down_path_a_level_is_its_lateral() -> None:
    pyramid = _one_channel((2, 3), design=PyramidDesign(top_down=False, norm="none"))
    features = {2: torch.full((1, 1, 2, 2), 3.0), 3: torch.full((1, 1, 1, 1), 4.0)}
    out = pyramid(features)
    assert out[2].unique().tolist() == [3.0]
    assert out[3].unique().tolist() == [4.0]
    assert not list(pyramid.get_submodule("top_down").children())


def test_smoothing_follows_the_sum_and_does_not_feed_finer_levels() -> None:
    design = PyramidDesign(
        upsample="nearest",
        top_down_conv=False,
        smoothing=True,
        lateral_activation=False,
        norm="none",
    )
    pyramid = _one_channel((2, 3), design=design)
    out = pyramid({2: torch.zeros(1, 1, 4, 4), 3: torch.ones(1, 1, 2, 2)})
    assert out[3].unique().tolist() == [4.0]  # a 3x3 window over 2x2 ones
    assert out[2][0, 0, 1, 1].item() == 9.0  # over ones, not over fours


def test_max_pool_levels_keep_every_second_cell() -> None:
    pyramid = _one_channel((4, 5), design=SUM_ONLY, extra="max_pool", num_extra=2)
    coarse = torch.arange(15.0).reshape(1, 1, 3, 5)
    out = pyramid({4: torch.zeros(1, 1, 6, 10), 5: coarse})
    assert out[6].tolist() == [[[[0, 2, 4], [10, 12, 14]]]]
    assert out[7].tolist() == [[[[0, 4]]]]


def test_conv_levels_start_at_the_backbone_with_a_relu_between() -> None:
    pyramid = _one_channel((4, 5), design=SUM_ONLY, extra="conv", num_extra=2)
    nn.init.constant_(pyramid.get_parameter("laterals.p5.conv.weight"), 100.0)
    nn.init.constant_(pyramid.get_parameter("extra_convs.p7.bias"), 0.5)
    out = pyramid({4: torch.zeros(1, 1, 4, 4), 5: torch.full((1, 1, 2, 2), -1.0)})
    assert out[6].tolist() == [[[[-4.0]]]]
    assert out[7].tolist() == [[[[0.5]]]]


def test_conv_levels_may_start_at_the_pyramid_after_its_smoothing() -> None:
    design = PyramidDesign(
        upsample="nearest",
        top_down_conv=False,
        smoothing=True,
        lateral_activation=False,
        norm="none",
    )
    pyramid = _one_channel((4, 5), design=design, extra="conv", num_extra=2, extra_from="pyramid")
    nn.init.constant_(pyramid.get_parameter("laterals.p5.conv.weight"), 100.0)
    out = pyramid({4: torch.zeros(1, 1, 2, 2), 5: torch.full((1, 1, 1, 1), -1.0)})
    nn.init.constant_(pyramid.get_parameter("smoothing.p5.conv.weight"), -2.0)
    turned = pyramid({4: torch.zeros(1, 1, 2, 2), 5: torch.full((1, 1, 1, 1), -1.0)})
    assert [out[level].item() for level in (5, 6, 7)] == [-100, -100, 0]
    assert [turned[level].item() for level in (5, 6, 7)] == [200, 200, 200]


@pytest.mark.parametrize(("extra_from", "width"), [("backbone", 10), ("pyramid", 8)])
def test_the_first_extra_convolution_is_as_wide_as_what_it_starts_at(
    extra_from: Any, width: int
) -> None:
    pyramid = FeaturePyramid(
        CHANNELS, STRIDES, channels=8, extra="conv", num_extra=2, extra_from=extra_from
    )
    assert pyramid.get_parameter("extra_convs.p6.weight").shape == (8, width, 3, 3)
    assert pyramid.get_parameter("extra_convs.p7.weight").shape == (8, 8, 3, 3)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(
    levels=st.sets(st.integers(2, 5), min_size=1).map(sorted),
    design=st.builds(
        PyramidDesign,
        upsample=st.sampled_from(["bilinear", "nearest"]),
        align_corners=st.booleans(),
        top_down=st.booleans(),
        top_down_conv=st.booleans(),
        smoothing=st.booleans(),
        lateral_activation=st.booleans(),
        norm=st.sampled_from(["batch", "group", "none"]),
    ),
    extra=st.sampled_from(
        [("none", 0), ("conv", 1), ("conv", 2), ("max_pool", 1), ("max_pool", 2)]
    ),
    extra_from=st.sampled_from(["backbone", "pyramid"]),
    input_hw=st.sampled_from([(64, 96), (100, 70)]),
)
def test_any_subset_and_design_gives_the_declared_shapes(
    levels: list[int],
    design: PyramidDesign,
    extra: tuple[Any, int],
    extra_from: Any,
    input_hw: tuple[int, int],
) -> None:
    pyramid = FeaturePyramid(
        CHANNELS, STRIDES, levels=levels, channels=8, design=design, extra=extra[0],
        num_extra=extra[1], extra_from=extra_from,
    ).eval()  # fmt: skip
    out = pyramid(_features(input_hw))
    assert tuple(out) == pyramid.levels
    assert len(pyramid.levels) == len(levels) + extra[1]
    h, w = input_hw
    for level, feature in out.items():
        stride = pyramid.strides[level]
        assert stride == 2**level
        assert feature.shape == (2, 8, -(-h // stride), -(-w // stride))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": []}, r"non-empty ascending list without repeats, got \[\]"),
        ({"levels": [3, 2]}, r"ascending list without repeats, got \[3, 2\]"),
        ({"levels": [2, 2]}, r"ascending list without repeats, got \[2, 2\]"),
        ({"levels": [2, 6]}, r"levels \[6\] are not among the backbone's \[2, 3, 4, 5\]"),
        ({"channels": 0}, r"pyramid channels must be at least 1, got 0"),
        ({"in_channels": {**CHANNELS, 4: 0}}, r"must be positive; they are not at levels \[4\]"),
        ({"in_strides": {**STRIDES, 4: 8}}, r"strides must grow .* got \[4, 8, 8, 32\]"),
        ({"in_strides": {2: 4}}, r"in_channels has levels \[2, 3, 4, 5\], in_strides has \[2\]"),
        ({"extra": "pool"}, r"extra must be 'none', 'conv' or 'max_pool', got 'pool'"),
        ({"extra_from": "body"}, r"extra_from must be 'backbone' or 'pyramid', got 'body'"),
        ({"extra": "conv"}, r"extra='conv' goes with num_extra in \[1, 2\], got num_extra=0"),
        ({"num_extra": 1}, r"extra='none' goes with num_extra in \[0\], got num_extra=1"),
    ],
)
def test_bad_arguments_are_refused_at_construction(
    changes: Mapping[str, Any], message: str
) -> None:
    options: dict[str, Any] = {"in_channels": CHANNELS, "in_strides": STRIDES, **changes}
    with pytest.raises(ValueError, match=message):
        FeaturePyramid(**options)


def test_unknown_upsampling_is_refused() -> None:
    with pytest.raises(ValueError, match=r"upsample must be 'bilinear' or 'nearest', got 'cubic'"):
        PyramidDesign(upsample="cubic")  # type: ignore[arg-type]
