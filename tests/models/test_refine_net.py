from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cpn.models.layers import Bottleneck
from cpn.models.refine_net import CPN_BOTTLENECKS, RefineNet


def _features(levels: tuple[int, ...] = (2, 3, 4, 5)) -> dict[int, Tensor]:
    return {level: torch.randn(2, 8, 64 // 2**level, 96 // 2**level) for level in levels}


def _count(net: nn.Module, level: int) -> int:
    branch = net.get_submodule(f"cascade.p{level}")
    return sum(isinstance(layer, Bottleneck) for layer in branch.modules())


def test_cpn_gives_coarser_levels_more_bottlenecks() -> None:
    net = RefineNet()
    assert net.levels == (5, 4, 3, 2)
    assert {level: _count(net, level) for level in net.levels} == {5: 3, 4: 2, 3: 1, 2: 0}
    assert dict(CPN_BOTTLENECKS) == {2: 0, 3: 1, 4: 2, 5: 3}


@pytest.mark.parametrize(
    "bottlenecks",
    [{2: 0}, {2: 0, 3: 1}, {2: 0, 3: 0, 4: 0, 5: 0}, {2: 1, 3: 1, 4: 1, 5: 1}, {3: 2, 5: 1}],
)
def test_fed_levels_and_counts_are_free(bottlenecks: dict[int, int]) -> None:
    net = RefineNet(bottlenecks, 8, 5)
    levels = tuple(bottlenecks)
    assert {level: _count(net, level) for level in levels} == bottlenecks
    assert net.fuse.reduce.conv.in_channels == 8 * len(levels)
    assert net(_features(levels), (64, 96)).shape == (2, 5, 16, 24)


@pytest.mark.parametrize(("stride", "size_hw"), [(2, (32, 48)), (8, (8, 12))])
def test_output_size_follows_the_heatmap_stride(stride: int, size_hw: tuple[int, int]) -> None:
    net = RefineNet(CPN_BOTTLENECKS, 8, 5, heatmap_stride=stride)
    assert net(_features(), (64, 96)).shape[-2:] == size_hw


def test_branches_are_concatenated_coarse_to_fine() -> None:
    net = RefineNet({2: 0, 3: 0}, 1, 1, norm="none", output_norm=False)
    net.order = "published"
    seen: list[Tensor] = []
    net.fuse.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    net({2: torch.full((1, 1, 4, 4), 2.0), 3: torch.full((1, 1, 2, 2), 3.0)}, (16, 16))
    assert seen[0][0, :, 0, 0].tolist() == [3.0, 2.0]


def test_bottlenecks_run_before_the_upsampling() -> None:
    net = RefineNet({2: 0, 5: 1}, 8, 5)
    sizes = []
    branch = net.get_submodule("cascade.p5")
    branch.register_forward_hook(lambda _module, _args, out: sizes.append(tuple(out.shape[-2:])))
    net(_features((2, 5)), (64, 96))
    assert sizes == [(2, 3)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bottlenecks": {}}, r"RefineNet needs at least one pyramid level"),
        ({"bottlenecks": {2: 0, 3: -1}}, r"counts must be at least 0, got \{3: -1\}"),
        ({"num_keypoints": 0}, r"num_keypoints must be at least 1, got 0"),
        ({"projection": "some"}, r"projection must be 'always' or 'when_needed', got 'some'"),
    ],
)
def test_bad_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RefineNet(**changes)
