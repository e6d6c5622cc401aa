from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from cpn.build_detector import build_detector, load_detector, save_detector
from cpn.config.detector_schema import DetectorConfig, DetectorNetworkConfig
from cpn.config.validation import ConfigError
from cpn.detection.detector import Detector
from cpn.engine.model_file import load_model_file, load_model_metadata, save_model_file
from cpn.errors import UserError
from tests.detectors import CONFIGS, SMALL, detector_config, import_config, people, photos

NAMES = sorted(file.stem for file in (CONFIGS / "network").glob("*.yaml"))


def _narrow(name: str) -> DetectorConfig:
    """A configured detector with everything narrow that a test has not to wait for."""
    given = ["detector.pyramid.channels=16", "detector.min_size=64", "detector.max_size=128"]
    if "rcnn" in name:
        given += ["detector.mask_rcnn.box_width=16", "detector.max_people=3"]
        head = "keypoint" if "keypoint" in name else "mask"
        given += [f"detector.mask_rcnn.{head}.width=8", f"detector.mask_rcnn.{head}.convs=2"]
    return detector_config(name, *given)


@pytest.mark.parametrize("name", NAMES)
def test_every_configured_detector_learns_and_detects(name: str) -> None:
    torch.manual_seed(0)
    detector = build_detector(SMALL, _narrow(name)).train()
    sizes = [(64, 96), (70, 50)]
    losses = detector(photos(sizes), people(sizes))
    sum(losses.values()).backward()
    for parameter, value in detector.named_parameters():
        assert value.grad is not None, parameter
        assert value.grad.isfinite().all(), parameter
    with torch.no_grad():
        found = detector.eval()(photos(sizes))
    assert [set(photo) >= {"boxes", "scores", "labels"} for photo in found] == [True, True]


@pytest.mark.parametrize("name", ["retinanet_small", "mask_rcnn_small"])
def test_a_batch_without_people_has_losses_too(name: str) -> None:
    torch.manual_seed(0)
    detector = build_detector(SMALL, _narrow(name)).train()
    empty = people([(64, 96)])
    losses = detector(photos([(64, 96)]), empty)
    total = sum(losses.values())
    assert total.isfinite()
    total.backward()


@pytest.mark.parametrize("levels", [[2, 3], [3, 5], [5]])
@pytest.mark.parametrize("name", ["retinanet_small", "mask_rcnn_small"])
def test_any_levels_make_a_detector(name: str, levels: list[int]) -> None:
    torch.manual_seed(0)
    config = _narrow(name).model_dump()
    config["pyramid"]["levels"] = levels
    config["anchors"]["sizes"] = [32] * (len(levels) + 1)
    detector = build_detector(SMALL, DetectorConfig.model_validate(config))
    sizes = [(64, 96), (70, 50)]
    losses = detector.train()(photos(sizes), people(sizes))
    assert sum(losses.values()).isfinite()
    with torch.no_grad():
        assert len(detector.eval()(photos(sizes))) == 2


def test_inference_and_anchors_are_as_configured() -> None:
    overrides = [
        "score_threshold=0.3",
        "nms_threshold=0.4",
        "max_people=7",
        "anchors.strides=measured",
    ]
    config = detector_config("retinanet_small", *(f"detector.{x}" for x in overrides))
    heads = build_detector(SMALL, config).heads
    assert (heads.score_thresh, heads.nms_thresh, heads.detections_per_img) == (0.3, 0.4, 7)
    assert not heads.anchor_generator.declared_strides
    assert heads.anchor_generator.strides == (8, 16, 32, 64)
    assert heads.anchor_generator.aspect_ratios[0] == (1.0, 2.0, 3.0)
    config = detector_config("mask_rcnn_small", *(f"detector.{x}" for x in overrides))
    network = build_detector(SMALL, config).heads
    roi = network.roi_heads
    assert (roi.score_thresh, roi.nms_thresh, roi.detections_per_img) == (0.3, 0.4, 7)
    assert network.rpn.anchor_generator.strides == (4, 8, 16, 32, 64)


@pytest.mark.long
def test_a_small_retinanet_learns_to_find_a_bright_box() -> None:
    torch.manual_seed(0)
    config = detector_config("retinanet_small", "detector.min_size=96", "detector.max_size=96")
    detector = build_detector(SMALL, config)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=2e-3)

    def scene(seed: int) -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
        images = photos([(96, 96)] * 4, seed)
        corners = torch.randint(4, 40, (4, 2), generator=torch.Generator().manual_seed(seed))
        targets = []
        for image, (x, y) in zip(images, corners.tolist(), strict=True):
            image.mul_(0.3)
            image[:, y : y + 48, x : x + 24] += 0.7
            box = torch.tensor([[x, y, x + 24, y + 48]], dtype=torch.float32)
            targets.append({"boxes": box, "labels": torch.ones(1, dtype=torch.int64)})
        return images, targets

    for step in range(60):
        losses = detector.train()(*scene(step))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    images, targets = scene(1000)
    with torch.no_grad():
        found = detector.eval()(images)
    for photo, target in zip(found, targets, strict=True):
        assert (photo["boxes"][0] - target["boxes"][0]).abs().max() < 8
        assert photo["labels"][0] == 1


def _saved(path: Path, **changes: Any) -> Detector:
    torch.manual_seed(0)
    network = DetectorNetworkConfig(backbone=SMALL, detector=_narrow("retinanet_small"))
    detector = build_detector(network.backbone, network.detector).eval()
    save_detector(path, detector, config=network, metrics={"AP50": 0.5})
    if changes:
        state, metadata = load_model_file(path)
        save_model_file(path, state, {**metadata, **changes})
    return detector


def test_a_model_file_gives_the_detector_back(tmp_path: Path) -> None:
    detector = _saved(tmp_path / "detector.safetensors")
    loaded = load_detector(tmp_path / "detector.safetensors")
    assert loaded.metrics == {"AP50": 0.5}
    assert loaded.config.detector == _narrow("retinanet_small")
    assert not loaded.model.training
    images = photos([(64, 96)])
    with torch.no_grad():
        features = detector.heads.backbone(images[0][None])
        again = loaded.model.heads.backbone(images[0][None])
    assert all(again[name].equal(value) for name, value in features.items())
    assert load_model_metadata(tmp_path / "detector.safetensors")["kind"] == "detector"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"kind": "pose"},
            r"a model of this project, but no detector; use one that scripts/import",
        ),
        (
            {"config": {}},
            r"cannot be used \(no backbone in it\); was it written by another version",
        ),
        ({"config": {"backbone": {}, "detector": {}}}, r"backbone.name: no value given"),
        ({"config": [1]}, r"its config or metrics cannot be used"),
    ],
)
def test_a_file_that_holds_no_detector_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    _saved(tmp_path / "detector.safetensors", **changes)
    with pytest.raises(UserError, match=message) as error:
        load_detector(tmp_path / "detector.safetensors")
    assert "\n" not in str(error.value)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "detector.safetensors"
    _saved(path)
    state, metadata = load_model_file(path)
    del state["pyramid.laterals.p3.conv.weight"]
    save_model_file(path, state, metadata)
    with pytest.raises(UserError, match=r"missing: pyramid\.laterals\.p3\.conv\.weight"):
        load_detector(path)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["detector.anchors.sizes=[32,64]"],
            r"detector: anchors.sizes has 2 sizes, \[32, 64\], for the 5 levels \[3, 4, 5, 6, 7\]",
        ),
        (["detector.max_size=500"], r"detector: max_size=500 is below min_size=800"),
        (["detector.kind=mask_rcnn"], r"kind=mask_rcnn goes with the group mask_rcnn and no other"),
        (
            ["detector.pyramid.levels=[3,6]"],
            r"detector.pyramid.levels\[1\]: got 6, allowed: .*<= 5",
        ),
        (["detector.num_classes=1"], r"detector.num_classes: got 1, allowed: an integer >= 2"),
        (["detector.retinanet.convs=5"], r"detector.retinanet.convs: got 5, allowed: .*<= 4"),
        (["frozen_eps=1e-5", "source=torchvision"], r"frozen_eps=1e-05 contradicts source=torch"),
    ],
)
def test_contradictions_are_told_by_their_keys(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        import_config("x", "x", "retinanet", *overrides)


def test_a_config_of_two_heads_is_refused() -> None:
    both = detector_config("mask_rcnn").model_dump()
    both["retinanet"] = detector_config("retinanet_small").model_dump()["retinanet"]
    with pytest.raises(ValidationError, match=r"no other, got retinanet, mask_rcnn"):
        DetectorConfig.model_validate(both)


def test_levels_that_the_backbone_lacks_are_told() -> None:
    pytest.importorskip("timm")
    backbone = SMALL.model_copy(update={"name": "timm:levit_128s", "width": 1.0})
    message = r"timm:levit_128s gives levels \[4, 5\] .*, not \[3\]: choose pyramid\.levels"
    with pytest.raises(UserError, match=message):
        build_detector(backbone, detector_config("retinanet_small"))


def test_a_stage_that_cannot_be_frozen_is_told_by_its_key() -> None:
    backbone = SMALL.model_copy(update={"frozen_stages": 5})
    levels = ["detector.pyramid.levels=[2,3]", "detector.anchors.sizes=[16,32,64]"]
    with pytest.raises(UserError, match=r"^backbone\.frozen_stages must be one of \[0, 1, 2, 3\]"):
        build_detector(backbone, detector_config("retinanet_small", *levels))
