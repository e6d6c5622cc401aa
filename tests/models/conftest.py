"""Networks for the tests: full size with weights by rule, and one that runs in milliseconds."""

import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cpn.models.backbone import create_backbone
from cpn.models.cpn import CascadedPyramidNetwork
from cpn.models.global_net import GlobalNet
from cpn.models.pyramid import FeaturePyramid, PyramidDesign
from cpn.models.pytorch_cpn import convert_pytorch_cpn
from cpn.models.refine_net import RefineNet

GOLDEN = Path(__file__).parent.parent / "golden" / "parity"


def rule_array(key: str, shape: Sequence[int]) -> np.ndarray[Any, np.dtype[Any]]:
    """The array that shared/parity defines for a pytorch-cpn key: each key seeds its own draw."""
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    z = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(tuple(shape))
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "weight" and len(shape) == 4:
        z = z * math.sqrt(2.0 / math.prod(shape[1:]))
    elif leaf == "running_var":
        z = 1 + 0.1 * np.abs(z)
    elif leaf == "weight":
        z = (1 + 0.1 * z) * (0.25 if key.endswith("bn3.weight") else 1.0)
    else:
        z = 0.1 * z
    return z.astype(np.float32)


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    return GOLDEN


@pytest.fixture(scope="session")
def published_state() -> dict[str, Tensor]:
    """A pytorch-cpn state dict of its CPN-50, with weights by rule."""
    keys = json.loads((GOLDEN / "cpn50_keys.json").read_text())
    return {key: torch.from_numpy(rule_array(key, shape)).reshape(shape) for key, shape in keys}


@pytest.fixture
def cpn50(published_state: Mapping[str, Tensor]) -> CascadedPyramidNetwork:
    """CPN-50 with those weights, through the converter."""
    with torch.device("meta"):
        model = default_cpn("resnet50")
    model = model.to_empty(device="cpu")
    model.load_state_dict(convert_pytorch_cpn(published_state).state_dict)
    return model.eval()


@pytest.fixture(scope="session")
def golden_input() -> Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.standard_normal((2, 3, 256, 192)).astype("float32"))


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
