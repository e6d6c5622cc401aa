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

SIZES_HW = [(97, 131), (120, 64)]
KINDS = ["mask_rcnn", pytest.param("keypoint_rcnn", marks=pytest.mark.long)]
WHAT = {"mask_rcnn": "masks", "keypoint_rcnn": "keypoints"}


@pytest.mark.parametrize("kind", KINDS)
def test_it_finds_what_torchvisions_finds(kind: str) -> None:
    theirs = reference(kind).eval()
    ours = twin(kind, theirs).eval()
    images = photos(SIZES_HW)
    with torch.no_grad():
        found = ours(images)
        assert_same(found, theirs(images), at_least=10)
    assert WHAT[kind] in found[0]


def test_its_proposals_and_raw_outputs_are_torchvisions() -> None:
    theirs = reference("mask_rcnn").eval()
    ours = twin("mask_rcnn", theirs).eval()
    images = torch.randn(2, 3, 96, 160)
    with torch.no_grad():
        expected, found = theirs.backbone(images), ours.heads.backbone(images)
        assert list(found) == ["p2", "p3", "p4", "p5", "p6"]
        for mine, other in zip(
            ours.heads.rpn.head(list(found.values())),
            theirs.rpn.head(list(expected.values())),
            strict=True,
        ):
            torch.testing.assert_close(mine, other, rtol=0, atol=1e-4)
        boxes = [torch.tensor([[3.0, 5, 60, 90], [20, 20, 150, 95]]), torch.rand(9, 4) * 10]
        boxes[1][:, 2:] += 50
        sizes = [(96, 160), (90, 150)]
        roi_heads, other_heads = ours.heads.roi_heads, theirs.roi_heads
        mine = roi_heads.box_head(roi_heads.box_roi_pool(found, boxes, sizes))
        other = other_heads.box_head(other_heads.box_roi_pool(expected, boxes, sizes))
        for result, wanted in zip(
            roi_heads.box_predictor(mine), other_heads.box_predictor(other), strict=True
        ):
            torch.testing.assert_close(result, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_its_losses_are_torchvisions(kind: str) -> None:
    theirs = reference(kind).train()
    ours = twin(kind, theirs).train()
    sizes = [(64, 96), (70, 50)]
    images, targets = photos(sizes), people(sizes)
    torch.manual_seed(1)  # which anchors and regions count is drawn
    expected = theirs(images, targets)
    torch.manual_seed(1)
    found = ours(images, targets)
    assert largest_difference(found, expected) < 1e-4
    assert all(loss > 0 for loss in expected.values())


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_resnet50_is_torchvisions_at_its_own_size(kind: str) -> None:
    sizes = {"min_size": 800, "max_size": 1333}
    theirs = reference(kind, "resnet50", **sizes).eval()
    ours = twin(kind, theirs, "resnet50", **sizes).eval()
    images = photos([(427, 640), (500, 333)])
    with torch.no_grad():
        assert_same(ours(images), theirs(images), at_least=10)


def test_without_masks_and_keypoints_it_is_faster_rcnn() -> None:
    config = detector_config("mask_rcnn_small", "detector.mask_rcnn.mask=null")
    model = build_detector(SMALL, config)
    assert not any("mask" in name or "keypoint" in name for name in model.state_dict())
    sizes = [(64, 96), (64, 64)]
    losses = model.train()(photos(sizes), people(sizes))
    names = {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
    assert set(losses) == names
    with torch.no_grad():
        assert set(model.eval()(photos(sizes))[0]) == {"boxes", "labels", "scores"}


def test_masks_and_keypoints_can_be_had_together() -> None:
    head = "detector.mask_rcnn.keypoint={roi_size: 6, convs: 1, width: 8, number: 17}"
    model = build_detector(SMALL, detector_config("mask_rcnn_small", head))
    sizes = [(64, 96), (64, 64)]
    losses = model.train()(photos(sizes), people(sizes))
    assert {"loss_mask", "loss_keypoint"} <= set(losses)
    with torch.no_grad():
        found = model.eval()(photos(sizes))
    assert {"masks", "keypoints"} <= set(found[0])
    assert found[0]["keypoints"].shape[1:] == (17, 3)


def test_counts_and_sizes_are_as_configured() -> None:
    heads = build_detector(SMALL, detector_config("mask_rcnn_small")).heads
    rpn = heads.rpn
    assert (rpn._pre_nms_top_n, rpn._post_nms_top_n) == (
        {"training": 500, "testing": 300},
        {"training": 300, "testing": 200},
    )
    assert rpn.fg_bg_sampler.batch_size_per_image == 128
    assert heads.roi_heads.fg_bg_sampler.batch_size_per_image == 64
    assert heads.roi_heads.box_head.fc6.weight.shape == (256, 64 * 7 * 7)
    assert heads.roi_heads.box_roi_pool.featmap_names == ["p2", "p3", "p4", "p5"]
    assert heads.roi_heads.box_roi_pool.map_levels.canonical_size == 112
    assert heads.roi_heads.mask_roi_pool.output_size == (14, 14)
    assert len(heads.roi_heads.mask_head) == 2
