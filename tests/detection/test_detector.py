import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cpn.build_detector import build_detector
from cpn.detection.detector import Detector, answers_in_float32
from cpn.engine.optim import build_optimizer
from tests.detectors import SMALL, detector_config, people, photos

KINDS = ["retinanet_small", "mask_rcnn_small"]


def _detector(name: str = "retinanet_small", *overrides: str) -> Detector:
    torch.manual_seed(0)
    return build_detector(SMALL, detector_config(name, *overrides))


class _Inputs:
    """Keeps what a backbone is given."""

    def __init__(self, detector: Detector) -> None:
        self.seen: list[Tensor] = []
        detector.backbone.register_forward_pre_hook(self)

    def __call__(self, _module: nn.Module, inputs: tuple[Tensor]) -> None:
        self.seen.append(inputs[0])


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_registered_once_and_the_backbones_by_its_name(kind: str) -> None:
    detector = _detector(kind)
    tops = {name.split(".")[0] for name in detector.state_dict()}
    assert tops == {"backbone", "pyramid", "heads"}
    factors = {f"backbone.{name}": 0.25 for name, _ in detector.backbone.named_parameters()}
    optimizer = build_optimizer(detector, name="sgd", lr=1.0, lr_factors=factors)
    slow = {id(x) for g in optimizer.param_groups if g["lr"] == 0.25 for x in g["params"]}
    assert slow == {id(x) for x in detector.backbone.parameters()}
    fast = [x for g in optimizer.param_groups if g["lr"] == 1 for x in g["params"]]
    others = [*detector.pyramid.parameters(), *detector.heads.parameters()]
    assert {id(x) for x in fast} == {id(x) for x in others}


def test_a_copy_has_its_own_backbone_and_pyramid() -> None:
    detector = _detector().eval()
    twin = copy.deepcopy(detector)
    images = photos([(64, 64)])
    with torch.no_grad():
        before = twin.heads.backbone(images[0][None])["p3"]
        for parameter in [*detector.backbone.parameters(), *detector.pyramid.parameters()]:
            parameter.zero_()
        assert twin.heads.backbone(images[0][None])["p3"].equal(before)
        assert not detector.heads.backbone(images[0][None])["p3"].equal(before)


def test_training_keeps_sizes_and_pads_and_normalises() -> None:
    detector = _detector().train()
    inputs = _Inputs(detector)
    sizes = [(50, 96), (64, 70)]
    images = photos(sizes)
    detector(images, people(sizes))
    (batch,) = inputs.seen
    assert batch.shape == (2, 3, 64, 96)
    assert batch[0, :, 50:].abs().max() == 0
    mean, std = torch.tensor(detector.backbone.mean), torch.tensor(detector.backbone.std)
    expected = (images[1][:, 5, 7] - mean) / std
    torch.testing.assert_close(batch[1, :, 5, 7], expected)


def test_evaluation_brings_photos_to_the_configured_size() -> None:
    detector = _detector("retinanet_small", "detector.min_size=64", "detector.max_size=100").eval()
    inputs = _Inputs(detector)
    with torch.no_grad():
        detector(photos([(32, 40)]))
        detector(photos([(64, 200)]))
    # 32 x 40 becomes 64 x 80, 64 x 200 becomes 32 x 100; both are padded to multiples of 32.
    assert [tuple(batch.shape[2:]) for batch in inputs.seen] == [(64, 96), (32, 128)]


def test_images_are_padded_to_the_coarsest_stride_of_the_backbone() -> None:
    sizes = "detector.anchors.sizes=[24,48,96]"
    detector = _detector("retinanet_small", "detector.pyramid.levels=[3,4]", sizes).train()
    inputs = _Inputs(detector)
    detector(photos([(50, 97)]), people([(50, 97), (50, 97)])[:1])
    assert inputs.seen[0].shape[2:] == (64, 112)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_moves_no_box(kind: str) -> None:
    overrides = ["detector.score_threshold=0.0", "detector.min_size=256", "detector.max_people=20"]
    detector = _detector(kind, *overrides)
    sizes = [(64, 2000), (40, 50)]
    images = photos(sizes)
    with torch.autocast("cpu", torch.bfloat16):
        losses = detector.train()(images, people(sizes))
        with torch.no_grad():
            found = detector.eval()(images)
    for loss in losses.values():
        assert loss.dtype == torch.float32
        assert loss.isfinite()
    for name in ("boxes", "scores"):
        assert found[0][name].dtype == torch.float32
    # bfloat16 has 8 significant bits: beyond 256 it knows no odd pixel.
    far = found[0]["boxes"][:, 0]
    assert len(far) > 0
    assert not far.equal(far.bfloat16().float())


def test_whatever_a_head_says_becomes_float32() -> None:
    class Head(nn.Module):
        def forward(self, output: Any) -> Any:
            return output

    head = answers_in_float32(Head())
    half = torch.zeros(1, dtype=torch.bfloat16)
    assert head(half).dtype == torch.float32
    assert head({"a": half})["a"].dtype == torch.float32
    lists, alone = head(([half, half], half))
    assert [x.dtype for x in (*lists, alone)] == [torch.float32] * 3
