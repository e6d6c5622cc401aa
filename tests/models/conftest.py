"""Networks for the tests: full size, and one that runs in milliseconds."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from cpn.models.backbone import create_backbone
from cpn.models.cpn import CascadedPyramidNetwork
from cpn.models.global_net import GlobalNet
from cpn.models.pyramid import FeaturePyramid, PyramidDesign
from cpn.models.pytorch_cpn import convert_pytorch_cpn
from cpn.models.refine_net import RefineNet


@pytest.fixture
def cpn50(published_state: Mapping[str, Tensor]) -> CascadedPyramidNetwork:
    """CPN-50 with those weights, through the converter."""
    with torch.device("meta"):
        model = default_cpn("resnet50")
    model = model.to_empty(device="cpu")
    model.load_state_dict(convert_pytorch_cpn(published_state).state_dict)
    return model.eval()


def default_cpn(backbone_name: str) -> CascadedPyramidNetwork:
    """The classes' defaults around a backbone: pytorch-cpn's network."""
    backbone = create_backbone(backbone_name)
    pyramid = FeaturePyramid(backbone.channels, backbone.strides)
    global_net = GlobalNet(pyramid.strides, pyramid.channels, 17)
    return CascadedPyramidNetwork(backbone, pyramid, global_net, RefineNet())


@pytest.fixture
def meta_cpn() -> Callable[[str], CascadedPyramidNetwork]:
    """A full-size CPN without data, for counting."""

    def build(backbone_name: str) -> CascadedPyramidNetwork:
        with torch.device("meta"):
            return default_cpn(backbone_name)

    return build


@pytest.fixture
def small_cpn() -> Callable[..., CascadedPyramidNetwork]:
    """A CPN of 3 keypoints whose widest part has 16 channels; runs in milliseconds."""

    def build(
        *,
        levels: Sequence[int] = (2, 3, 4, 5),
        design: PyramidDesign | None = None,
        bottlenecks: Mapping[int, int] | None = None,
        pyramid_options: Mapping[str, Any] | None = None,
        head_options: Mapping[str, Any] | None = None,
        supervision: Any = "upsampled",
        refined: bool = True,
        frozen_stages: int = 0,
    ) -> CascadedPyramidNetwork:
        torch.manual_seed(0)
        backbone = create_backbone(
            "resnet10", width=0.125, levels=levels, frozen_stages=frozen_stages
        )
        pyramid = FeaturePyramid(
            backbone.channels,
            backbone.strides,
            levels=levels,
            channels=16,
            design=design,
            **(pyramid_options or {}),
        )
        head = dict(head_options or {})
        global_net = GlobalNet(pyramid.strides, 16, 3, supervision=supervision, **head)
        counts = bottlenecks or dict.fromkeys(pyramid.levels, 1)
        refine_net = RefineNet(counts, 16, 3, **head) if refined else None
        return CascadedPyramidNetwork(backbone, pyramid, global_net, refine_net)

    return build
