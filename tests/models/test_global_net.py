from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cpn.models.global_net import GlobalNet

STRIDES = {2: 4, 3: 8, 5: 32}


def _features() -> dict[int, Tensor]:
    return {
        level: torch.randn(2, 8, 64 // stride, 96 // stride) for level, stride in STRIDES.items()
    }


def test_upsampled_heatmaps_share_one_size_coarse_to_fine() -> None:
    net = GlobalNet(STRIDES, 8, 5)
    out = net(_features(), (64, 96))
    assert net.levels == (5, 3, 2)
    assert net.heatmap_strides == {"p5": 4, "p3": 4, "p2": 4}
    assert list(net.heatmap_strides) == ["p5", "p3", "p2"]
    assert [tuple(heatmaps.shape) for heatmaps in out] == [(2, 5, 16, 24)] * 3


def test_heatmap_stride_sets_the_upsampled_size() -> None:
    out = GlobalNet(STRIDES, 8, 5, heatmap_stride=2)(_features(), (64, 96))
    assert {tuple(heatmaps.shape[-2:]) for heatmaps in out} == {(32, 48)}


def test_native_heatmaps_keep_their_levels_size() -> None:
    net = GlobalNet(STRIDES, 8, 5, supervision="native")
    out = net(_features(), (64, 96))
    assert net.heatmap_strides == {"p5": 32, "p3": 8, "p2": 4}
    assert [tuple(heatmaps.shape[-2:]) for heatmaps in out] == [(2, 3), (8, 12), (16, 24)]


def test_every_level_has_its_own_predictor() -> None:
    net = GlobalNet(STRIDES, 8, 1, output_norm=False, norm="none")
    for level in STRIDES:
        heatmaps = net.get_submodule(f"predictors.p{level}.heatmaps")
        nn.init.zeros_(heatmaps.weight)  # type: ignore[arg-type]
        nn.init.constant_(heatmaps.bias, level)  # type: ignore[arg-type]
    out = net(_features(), (64, 96))
    for heatmaps, level in zip(out, (5, 3, 2), strict=True):
        torch.testing.assert_close(heatmaps, torch.full((2, 1, 16, 24), float(level)))


def test_output_norm_follows_the_upsampling() -> None:
    net = GlobalNet({2: 4, 3: 8}, 8, 2).train()
    features = {2: torch.randn(2, 8, 16, 16), 3: torch.randn(2, 8, 8, 8)}
    coarse = net(features, (64, 64))[0]
    assert coarse.mean().item() == pytest.approx(0, abs=1e-5)
    assert coarse.var(unbiased=False).item() == pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strides": {}}, r"at least one pyramid level"),
        ({"supervision": "none"}, r"supervision must be 'upsampled' or 'native', got 'none'"),
        ({"num_keypoints": 0}, r"num_keypoints must be at least 1, got 0"),
        ({"channels": 0}, r"channels must be at least 1, got 0"),
        ({"heatmap_stride": 0}, r"heatmap_stride must be at least 1, got 0"),
    ],
)
def test_bad_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    options: dict[str, Any] = {"strides": STRIDES, "channels": 8, "num_keypoints": 5, **changes}
    with pytest.raises(ValueError, match=message):
        GlobalNet(**options)
