from functools import partial

import pytest
import torch
from torch import Tensor, nn

from cpn.models.layers import (
    Bottleneck,
    ConvNorm,
    HeatmapConv,
    Interpolation,
    convolve_resized,
    initialise_weights,
    make_norm,
    output_normalisation,
    resize,
)


@pytest.mark.parametrize(("channels", "groups"), [(256, 32), (48, 16), (17, 1)])
def test_group_norm_divides_every_width(channels: int, groups: int) -> None:
    norm = make_norm("group", channels)
    assert isinstance(norm, nn.GroupNorm)
    assert norm.num_groups == groups


def test_unknown_norm_is_refused() -> None:
    with pytest.raises(ValueError, match=r"norm must be 'batch', 'group' or 'none', got 'layer'"):
        make_norm("layer", 8)  # type: ignore[arg-type]


@pytest.mark.parametrize(("norm", "biased"), [("batch", False), ("group", False), ("none", True)])
def test_convolution_has_a_bias_only_without_norm(norm: str, biased: bool) -> None:
    assert (ConvNorm(4, 4, norm=norm).conv.bias is not None) == biased  # type: ignore[arg-type]


def test_conv_norm_order_is_convolution_norm_relu() -> None:
    layer = ConvNorm(1, 1)
    nn.init.constant_(layer.conv.weight, 2.0)
    nn.init.constant_(layer.norm.bias, -1.0)  # type: ignore[arg-type]
    layer.norm.eps = 0.0  # type: ignore[assignment]
    out = layer.eval()(torch.tensor([[[[0.25, 3.0]]]]))
    assert out.flatten().tolist() == [0.0, 5.0]


def test_bottleneck_adds_the_shortcut_before_the_relu() -> None:
    block = Bottleneck(2, 1, 2, projection="when_needed", norm="none")
    for convolution in (block.reduce.conv, block.spatial.conv, block.expand.conv):
        nn.init.zeros_(convolution.weight)
        assert convolution.bias is not None
        nn.init.zeros_(convolution.bias)
    nn.init.constant_(block.expand.conv.bias, -1.0)  # type: ignore[arg-type]
    x = torch.tensor([3.0, 0.5]).reshape(1, 2, 1, 1)
    assert block(x).flatten().tolist() == [2.0, 0.0]


def test_bottleneck_shortcuts() -> None:
    assert isinstance(Bottleneck(8, 4, 8, projection="always").shortcut, ConvNorm)
    assert isinstance(Bottleneck(8, 4, 8, projection="when_needed").shortcut, nn.Identity)
    assert isinstance(Bottleneck(8, 4, 16, projection="when_needed").shortcut, ConvNorm)
    with pytest.raises(ValueError, match=r"projection must be .* got 'never'"):
        Bottleneck(8, 4, 8, projection="never")  # type: ignore[arg-type]


def _column() -> Tensor:
    return torch.tensor([0.0, 3.0]).reshape(1, 1, 2, 1)


def test_resize_by_hand() -> None:
    aligned = resize(_column(), (4, 1))
    unaligned = resize(_column(), (4, 1), align_corners=False)
    nearest = resize(_column(), (4, 1), mode="nearest")
    assert aligned.flatten().tolist() == pytest.approx([0.0, 1.0, 2.0, 3.0])
    assert unaligned.flatten().tolist() == pytest.approx([0.0, 0.75, 2.25, 3.0])
    assert nearest.flatten().tolist() == [0.0, 0.0, 3.0, 3.0]


def test_resize_to_the_same_size_is_free() -> None:
    x = _column()
    assert resize(x, (2, 1)) is x


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("align_corners", [True, False])
def test_1x1_over_resized_parts_runs_at_their_own_size(
    bias: bool, mode: Interpolation, align_corners: bool
) -> None:
    """Parts that grow, stay and shrink; different numbers of channels."""
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 4, 1, bias=bias)
    parts = [torch.randn(2, 1, 3, 2), torch.randn(2, 2, 6, 4), torch.randn(2, 3, 12, 8)]
    resized = partial(resize, size_hw=(6, 4), mode=mode, align_corners=align_corners)
    wanted = conv(torch.cat([resized(part) for part in parts], dim=1))
    given = convolve_resized(conv, parts, (6, 4), mode=mode, align_corners=align_corners)
    torch.testing.assert_close(given, wanted, rtol=1e-5, atol=1e-6)


def test_heatmaps_without_norm_start_near_zero() -> None:
    torch.manual_seed(0)
    head = HeatmapConv(64, 17, normalised=False)
    normalised = HeatmapConv(64, 17, normalised=True)
    plain = nn.Conv2d(16, 64, 3)
    initialise_weights(nn.Sequential(head, normalised, plain))
    assert head.weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert head.bias is not None
    assert head.bias.abs().max().item() == 0
    assert normalised.bias is None
    assert normalised.weight.std().item() == pytest.approx((2 / (17 * 9)) ** 0.5, rel=0.05)
    assert plain.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)


def test_output_norm_is_over_the_keypoints() -> None:
    norm = output_normalisation(True, 5)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.num_features == 5
    assert isinstance(output_normalisation(False, 5), nn.Identity)
