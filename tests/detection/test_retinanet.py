import pytest
import torch

from cpn.build_detector import build_detector
from tests.detectors import (
    SMALL,
    assert_same,
    detector_config,
    largest_difference,
    people,
    photos,
    reference,
    twin,
)

SIZES_HW = [(97, 131), (120, 64), (33, 150)]


def test_it_finds_what_torchvisions_finds() -> None:
    theirs = reference("retinanet").eval()
    ours = twin("retinanet", theirs).eval()
    images = photos(SIZES_HW)
    with torch.no_grad():
        assert_same(ours(images), theirs(images), at_least=250)


def test_its_features_and_raw_outputs_are_torchvisions() -> None:
    theirs = reference("retinanet").eval()
    ours = twin("retinanet", theirs).eval()
    images = torch.randn(2, 3, 96, 160)
    with torch.no_grad():
        expected = theirs.backbone(images)
        found = ours.heads.backbone(images)
        assert list(found) == ["p3", "p4", "p5", "p6", "p7"]
        for mine, other in zip(found.values(), expected.values(), strict=True):
            torch.testing.assert_close(mine, other, rtol=0, atol=1e-4)
        outputs = theirs.head(list(expected.values()))
        assert outputs["cls_logits"].std() > 0.1
        assert largest_difference(ours.heads.head(list(found.values())), outputs) < 1e-4


def test_its_losses_and_gradients_are_torchvisions() -> None:
    theirs = reference("retinanet").train()
    ours = twin("retinanet", theirs).train()
    images, targets = photos(SIZES_HW), people(SIZES_HW)
    expected, found = theirs(images, targets), ours(images, targets)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    sum(expected.values()).backward()
    sum(found.values()).backward()
    torch.testing.assert_close(
        ours.backbone.body.get_parameter("conv1.weight").grad,
        theirs.backbone.body.conv1.weight.grad,
        rtol=1e-3,
        atol=1e-4,
    )


@pytest.mark.long
def test_resnet50_is_torchvisions_at_its_own_size() -> None:
    sizes = {"min_size": 800, "max_size": 1333}
    theirs = reference("retinanet", "resnet50", **sizes).eval()
    ours = twin("retinanet", theirs, "resnet50", **sizes).eval()
    images = photos([(427, 640), (500, 333)])
    with torch.no_grad():
        assert_same(ours(images), theirs(images), at_least=250)


def test_convolutions_norm_and_loss_are_as_configured() -> None:
    model = build_detector(SMALL, detector_config("retinanet_small", "detector.retinanet.convs=3"))
    head = model.heads.head
    for branch in (head.classification_head, head.regression_head):
        assert len(branch.conv) == 3
        assert [type(layer).__name__ for layer in branch.conv[0]] == ["Conv2d", "GroupNorm", "ReLU"]
    assert head.regression_head._loss_type == "giou"
    assert model.heads.topk_candidates == 500


def test_it_starts_at_the_focal_losss_prior() -> None:
    torch.manual_seed(0)
    model = build_detector(SMALL, detector_config("retinanet_small")).eval()
    with torch.no_grad():
        outputs = model.heads.head(list(model.heads.backbone(torch.randn(1, 3, 64, 96)).values()))
    scores = outputs["cls_logits"].sigmoid()
    assert scores.mean() == pytest.approx(0.01, abs=0.002)
