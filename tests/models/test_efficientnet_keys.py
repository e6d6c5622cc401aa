import pytest
import torch

from cpn.errors import UserError
from cpn.models.efficientnet_keys import is_efficientnet_pytorch, to_timm_keys

NAMES = {
    "_conv_stem.weight": "conv_stem.weight",
    "_bn0.bias": "bn1.bias",
    "_blocks.0._depthwise_conv.weight": "blocks.0.0.conv_dw.weight",
    "_blocks.0._bn1.running_mean": "blocks.0.0.bn1.running_mean",
    "_blocks.0._project_conv.weight": "blocks.0.0.conv_pw.weight",
    "_blocks.0._bn2.weight": "blocks.0.0.bn2.weight",
    "_blocks.2._expand_conv.weight": "blocks.1.1.conv_pw.weight",
    "_blocks.2._bn0.weight": "blocks.1.1.bn1.weight",
    "_blocks.2._depthwise_conv.weight": "blocks.1.1.conv_dw.weight",
    "_blocks.2._bn1.weight": "blocks.1.1.bn2.weight",
    "_blocks.2._se_reduce.bias": "blocks.1.1.se.conv_reduce.bias",
    "_blocks.2._project_conv.weight": "blocks.1.1.conv_pwl.weight",
    "_blocks.2._bn2.weight": "blocks.1.1.bn3.weight",
    "_conv_head.weight": "conv_head.weight",
    "_bn1.weight": "bn2.weight",
    "_fc.bias": "classifier.bias",
}


def test_names_by_hand() -> None:
    state = {name: torch.full((1,), float(index)) for index, name in enumerate(NAMES)}
    renamed = to_timm_keys(state, stage_depths=[1, 2])
    assert {name: renamed[NAMES[name]].item() for name in NAMES} == {
        name: value.item() for name, value in state.items()
    }


def test_family_is_recognised() -> None:
    assert is_efficientnet_pytorch({"_conv_stem.weight": torch.ones(1)})
    assert not is_efficientnet_pytorch({"conv_stem.weight": torch.ones(1)})


@pytest.mark.parametrize("key", ["_blocks.3._bn1.weight", "_blocks.x._bn1.weight", "_top.weight"])
def test_names_without_place_are_refused(key: str) -> None:
    with pytest.raises(UserError, match=rf"{key!r} has no place in a network of 3 blocks"):
        to_timm_keys({key: torch.ones(1)}, stage_depths=[1, 2])
