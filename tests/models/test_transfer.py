from collections.abc import Callable

import torch

from cpn.models.cpn import CascadedPyramidNetwork
from cpn.models.transfer import transfer_weights

Build = Callable[..., CascadedPyramidNetwork]
State = dict[str, torch.Tensor]
BIAS = "global_net.predictors.p3.norm.bias"


def _pair(small_cpn: Build, **changes: object) -> tuple[CascadedPyramidNetwork, State]:
    """A network of three keypoints, and the weights of another one."""
    torch.manual_seed(0)
    other = {key: value + 1 for key, value in small_cpn().state_dict().items()}
    return small_cpn(**changes), other


def test_the_same_network_takes_everything(small_cpn: Build) -> None:
    model, other = _pair(small_cpn)
    found = transfer_weights(model, other, {0: 0, 1: 1, 2: 2})
    assert sorted(found.taken) == sorted(other)
    assert (found.partly, found.anew, found.unused) == ({}, [], [])
    assert all(torch.equal(found.state[key], other[key]) for key in other)


def test_heads_are_taken_keypoint_by_keypoint(small_cpn: Build) -> None:
    model, other = _pair(small_cpn)
    own = model.state_dict()[BIAS].clone()
    other[BIAS] = torch.tensor([5.0, 6.0, 7.0])
    found = transfer_weights(model, other, {2: 1, 0: 2})
    assert found.state[BIAS].tolist() == [7.0, own[1].item(), 6.0]
    assert found.partly[BIAS] == 2
    assert found.partly.keys() == model.keypoint_keys
    assert torch.equal(model.state_dict()[BIAS], own)


def test_without_common_keypoints_heads_begin_anew(small_cpn: Build) -> None:
    model, other = _pair(small_cpn)
    found = transfer_weights(model, other, {})
    assert set(found.anew) == model.keypoint_keys
    assert all(key.split(".")[-2] in {"heatmaps", "norm"} for key in found.anew)
    assert {"refine_net.heatmaps.weight", "refine_net.norm.running_mean", BIAS} <= set(found.anew)
    assert "refine_net.fuse.reduce.norm.weight" in found.taken


def test_what_has_no_counterpart_is_told(small_cpn: Build) -> None:
    model, other = _pair(small_cpn, refined=False)
    other["backbone.body.conv1.weight"] = torch.zeros(1, 3, 7, 7)
    del other["pixel_mean"]
    found = transfer_weights(model, other, {0: 0, 1: 1, 2: 2})
    assert found.anew == ["pixel_mean", "backbone.body.conv1.weight"]
    assert found.unused
    assert all(key.startswith("refine_net.") for key in found.unused)
