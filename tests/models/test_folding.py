import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cpn.models.backbone import create_backbone
from cpn.models.cpn import CascadedPyramidNetwork
from cpn.models.folding import folded
from cpn.models.global_net import GlobalNet
from cpn.models.pyramid import FeaturePyramid, PyramidDesign
from cpn.models.refine_net import RefineNet

SIZE_HW = (64, 96)
Build = Callable[..., CascadedPyramidNetwork]


def _trained(model: CascadedPyramidNetwork) -> CascadedPyramidNetwork:
    """With norms as training leaves them: no two constants alike."""
    generator = torch.Generator().manual_seed(1)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for values, low in ((layer.weight, 0.5), (layer.bias, -0.5)):
                values.data = torch.rand(values.shape, generator=generator) + low
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_(generator=generator)
            layer.running_var.uniform_(0.5, 2.0, generator=generator)
    return model.eval()


def _norms(model: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())


def _assert_same(lean: CascadedPyramidNetwork, model: CascadedPyramidNetwork) -> None:
    images = torch.randn(2, 3, *SIZE_HW)
    with torch.no_grad():
        given, expected = lean(images), model(images)
    pairs = [*zip(given.global_heatmaps, expected.global_heatmaps, strict=True)]
    for one, other in [*pairs, (given.final, expected.final)]:
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"design": PyramidDesign(upsample="nearest", smoothing=True)},
        {"head_options": {"output_norm": False}},
        {"supervision": "native"},
        {"levels": (2, 5), "refined": False},
    ],
)
@pytest.mark.parametrize("order", ["coarse_first", "published"])
def test_every_batch_norm_goes_and_nothing_changes(
    options: dict[str, Any], order: Any, small_cpn: Build
) -> None:
    model = _trained(small_cpn(**options))
    model.set_order(order)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    lean = folded(model, SIZE_HW)
    assert _norms(lean) == 0
    _assert_same(lean, model)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_a_network_in_training_is_left_in_training(small_cpn: Build) -> None:
    model = _trained(small_cpn(frozen_stages=1)).train()
    modes = [layer.training for layer in model.modules()]
    assert not folded(model, SIZE_HW).training
    assert [layer.training for layer in model.modules()] == modes


@pytest.mark.parametrize(
    "name", ["resnet50", "timm:tf_efficientnet_lite0", "timm:mobilenetv3_small_050"]
)
def test_backbones_of_other_designs(name: str) -> None:
    """Bottlenecks; BatchNorms that carry their activation; squeeze and excitation."""
    torch.manual_seed(0)
    backbone = create_backbone(name, frozen_stages=2)
    pyramid = FeaturePyramid(backbone.channels, backbone.strides, channels=8)
    heads = GlobalNet(pyramid.strides, 8, 2), RefineNet({2: 0, 5: 1}, 8, 2)
    model = _trained(CascadedPyramidNetwork(backbone, pyramid, *heads))
    lean = folded(model, SIZE_HW).eval()  # frozen stages are found again
    assert _norms(lean) == 0
    _assert_same(lean, model)


def test_a_backbone_with_an_input_size_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    backbone = create_backbone("timm:maxvit_rmlp_pico_rw_256")
    pyramid = FeaturePyramid(backbone.channels, backbone.strides, channels=8)
    heads = GlobalNet(pyramid.strides, 8, 2), RefineNet({2: 0, 5: 1}, 8, 2)
    model = CascadedPyramidNetwork(backbone, pyramid, *heads).eval()
    lean = folded(model, (256, 256))
    assert _norms(lean) < _norms(model)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize("lean", [False, True])
def test_autocast_computes_in_bf16_all_the_way(lean: bool, small_cpn: Build) -> None:
    model = _trained(small_cpn())
    model = folded(model, SIZE_HW) if lean else model
    dtypes = []
    for layer in model.modules():
        if isinstance(layer, nn.ReLU):
            layer.register_forward_hook(lambda _, __, out: dtypes.append(out.dtype))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        model(torch.randn(1, 3, *SIZE_HW))
    assert set(dtypes) == {torch.bfloat16}


class _Sharing(nn.Module):
    """Uses a convolution's result both with its norm and without."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Any:
        mixed = self.conv(images)
        return self.body(self.norm(mixed) + mixed)


def test_what_cannot_be_folded_is_left_and_told(
    small_cpn: Build, caplog: pytest.LogCaptureFixture
) -> None:
    model = small_cpn()
    model.backbone.body = _Sharing(model.backbone.body)
    model = _trained(model)
    with caplog.at_level(logging.WARNING):
        left = folded(model, SIZE_HW)
    assert _norms(left) == _norms(model)
    assert "BatchNorm cannot be folded into this backbone" in caplog.text
    _assert_same(left, model)
