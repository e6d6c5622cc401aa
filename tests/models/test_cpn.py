from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from cpn.models.backbone import create_backbone
from cpn.models.cpn import CascadedPyramidNetwork, CpnOutput
from cpn.models.global_net import GlobalNet
from cpn.models.layers import Order
from cpn.models.pyramid import FeaturePyramid, PyramidDesign
from cpn.models.refine_net import RefineNet

Build = Callable[..., CascadedPyramidNetwork]
FPN = PyramidDesign(
    upsample="nearest", top_down_conv=False, smoothing=True, lateral_activation=False, norm="none"
)

# The rows of the paper's ablation tables, and what this project adds.
VARIANTS: dict[str, dict[str, Any]] = {
    "cpn": {"bottlenecks": {2: 0, 3: 1, 4: 2, 5: 3}},
    "global net only": {"refined": False},
    "fed by C2": {"bottlenecks": {2: 0}},
    "fed by C2-C3": {"bottlenecks": {2: 0, 3: 1}},
    "fed by C2-C4": {"bottlenecks": {2: 0, 3: 1, 4: 2}},
    "concat": {"bottlenecks": {2: 0, 3: 0, 4: 0, 5: 0}},
    "one bottleneck each": {"bottlenecks": {2: 1, 3: 1, 4: 1, 5: 1}},
    "levels 3-5": {"levels": (3, 4, 5)},
    "levels 2, 3": {"levels": (2, 3)},
    "levels 2, 5": {"levels": (2, 5)},
    "one level": {"levels": (4,)},
    "fpn": {"design": FPN},
    "laterals only": {"design": PyramidDesign(top_down=False)},
    "native": {"supervision": "native"},
    "native, global net only": {"supervision": "native", "levels": (3, 4, 5), "refined": False},
    "p6 by convolution": {"pyramid_options": {"extra": "conv", "num_extra": 1}},
    "p6, p7 by pooling": {"pyramid_options": {"extra": "max_pool", "num_extra": 2}},
    "no output norm": {"head_options": {"output_norm": False}},
    "group norm": {"head_options": {"norm": "group"}},
    "corners not aligned": {
        "head_options": {"align_corners": False},
        "design": PyramidDesign(align_corners=False),
    },
    "stride 8": {"head_options": {"heatmap_stride": 8}},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_trains_all_its_parameters(name: str, small_cpn: Build) -> None:
    """DistributedDataParallel refuses parameters that no output depends on."""
    model = small_cpn(**VARIANTS[name])
    out: CpnOutput = model(torch.randn(2, 3, 64, 96))
    loss = sum((heatmaps.square().mean() for heatmaps in out.global_heatmaps), out.final.sum())
    loss.backward()  # type: ignore[no-untyped-call]
    assert [key for key, value in model.named_parameters() if value.grad is None] == []
    assert len(out.global_heatmaps) == len(model.level_names) == len(model.pyramid.levels)
    for level, heatmaps in zip(model.level_names, out.global_heatmaps, strict=True):
        stride = model.heatmap_strides[level]
        assert heatmaps.shape == (2, 3, -(-64 // stride), -(-96 // stride))
    stride = model.heatmap_stride
    assert out.final.shape == (2, 3, 64 // stride, 96 // stride)
    assert (out.refined_heatmaps is None) == (model.refine_net is None)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_order_of_1x1_and_upsampling_changes_nothing(name: str, small_cpn: Build) -> None:
    """Outputs, gradients and running statistics in training, to rounding in float64."""
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    results = []
    for order in get_args(Order):
        model = small_cpn(**VARIANTS[name]).double()
        model.set_order(order)
        out: CpnOutput = model(images)
        out.final.square().sum().backward()  # type: ignore[no-untyped-call]
        gradients = [value.grad for value in model.parameters() if value.grad is not None]
        results.append([*out.global_heatmaps, out.final, *gradients, *model.buffers()])
    for coarse_first, published in zip(*results, strict=True):
        torch.testing.assert_close(coarse_first, published, rtol=1e-7, atol=1e-9)


def test_it_compiles_as_one_graph_and_only_once(small_cpn: Build) -> None:
    """Nothing breaks the graph, and no step of a training has it compiled anew."""
    torch._dynamo.reset()
    model = small_cpn()
    counter = CompileCounter()
    network = torch.compile(model, backend=counter)
    for _ in range(3):
        out: CpnOutput = network(torch.randn(2, 3, 64, 96))
        out.final.square().mean().backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(0.99)
                parameter.grad = None
    assert counter.frame_count == 1


def test_final_is_refined_or_the_finest_level() -> None:
    coarse, fine, refined = torch.zeros(1), torch.ones(1), torch.full((1,), 2.0)
    assert CpnOutput((coarse, fine), refined).final is refined
    assert CpnOutput((coarse, fine), None).final is fine


def test_level_names_run_coarse_to_fine(small_cpn: Build) -> None:
    model = small_cpn(pyramid_options={"extra": "max_pool", "num_extra": 1})
    assert model.level_names == ("p6", "p5", "p4", "p3", "p2")
    assert model.num_keypoints == 3


def test_native_global_net_only_declares_its_finest_stride(small_cpn: Build) -> None:
    assert small_cpn(**VARIANTS["native, global net only"]).heatmap_stride == 8
    assert small_cpn(**VARIANTS["native"]).heatmap_stride == 4


def test_preprocess_by_hand(small_cpn: Build) -> None:
    model = small_cpn()
    crops = torch.tensor([0, 128, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    expected = [(0 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    out = model.preprocess(crops)
    assert out.flatten().tolist() == pytest.approx(expected, rel=1e-6)
    assert out.dtype == torch.float32


def test_preprocess_keeps_channels_last(small_cpn: Build) -> None:
    pictures = torch.zeros(2, 64, 48, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    model = small_cpn().to(memory_format=torch.channels_last)
    images = model.preprocess(pictures)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert model(images).final.is_contiguous(memory_format=torch.channels_last)
    assert model.preprocess(pictures.contiguous()).is_contiguous()


@pytest.mark.parametrize(
    "crops",
    [torch.zeros(1, 3, 8, 8), torch.zeros(3, 8, 8, dtype=torch.uint8)],
    ids=["float", "one image"],
)
def test_preprocess_refuses_what_is_not_a_batch_of_bytes(
    crops: torch.Tensor, small_cpn: Build
) -> None:
    with pytest.raises(ValueError, match=r"uint8 crops \(N, 3, H, W\) in 0..255, got torch"):
        small_cpn().preprocess(crops)


def test_pixel_statistics_are_part_of_the_weights(small_cpn: Build) -> None:
    state = small_cpn().state_dict()
    assert state["pixel_mean"].flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert state["pixel_std"].flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])


def test_input_size_must_fit_the_stride(small_cpn: Build) -> None:
    with pytest.raises(ValueError, match=r"multiples of the heatmap stride 4, got 64x50"):
        small_cpn()(torch.zeros(1, 3, 64, 50))


def test_an_empty_batch_gives_empty_heatmaps(small_cpn: Build) -> None:
    out: CpnOutput = small_cpn().eval()(torch.zeros(0, 3, 64, 96))
    assert out.final.shape == (0, 3, 16, 24)


def _parts() -> dict[str, Any]:
    backbone = create_backbone("resnet10", width=0.125)
    pyramid = FeaturePyramid(backbone.channels, backbone.strides, levels=(3, 4, 5), channels=16)
    return {
        "backbone": backbone,
        "pyramid": pyramid,
        "global_net": GlobalNet(pyramid.strides, 16, 3),
        "refine_net": RefineNet({3: 0, 4: 0}, 16, 3),
    }


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"global_net": GlobalNet({3: 8}, 16, 3)}, r"built for strides \{3: 8\}, the pyramid has"),
        ({"refine_net": RefineNet({2: 0, 3: 0}, 16, 3)}, r"fed by levels \[2\].*\[3, 4, 5\]"),
        ({"refine_net": RefineNet({3: 0}, 16, 4)}, r"predicts 3 keypoints, RefineNet 4"),
        ({"refine_net": RefineNet({3: 0}, 8, 3)}, r"RefineNet takes 8 channels, .* gives 16"),
        (
            {"global_net": GlobalNet({3: 8, 4: 16, 5: 32}, 8, 3)},
            r"GlobalNet takes 8 channels, the pyramid gives 16",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(part: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CascadedPyramidNetwork(**{**_parts(), **part})
