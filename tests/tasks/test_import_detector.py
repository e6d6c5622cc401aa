"""A torchvision detector becomes a model file that finds the same."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from cpn.build_detector import load_detector
from cpn.config.detector_schema import ImportDetectorConfig
from cpn.engine.model_file import load_model_metadata
from cpn.errors import UserError
from cpn.tasks.import_detector import import_detector
from tests.detectors import (
    CLASSES,
    MOST,
    SIZES,
    THRESHOLD,
    assert_same,
    awakened,
    frozen,
    import_config,
    largest_difference,
    photos,
    reference,
)

SIZES_HW = [(97, 131), (120, 64)]
PUBLISHED = {
    "retinanet": "retinanet_resnet50_fpn_coco-eeacb38b",
    "retinanet_v2": "retinanet_resnet50_fpn_v2_coco-5905b1c5",
    "mask_rcnn": "maskrcnn_resnet50_fpn_coco-bf2d0c1e",
    "keypoint_rcnn": "keypointrcnn_resnet50_fpn_coco-fc266e95",
}


def _config(kind: str, source: Path, out: Path, *overrides: str) -> ImportDetectorConfig:
    """Import for small photos, all of whose boxes count."""
    sizes = [f"detector.{name}={size}" for name, size in SIZES.items()]
    kept = [f"detector.max_people={MOST[kind]}", f"detector.score_threshold={THRESHOLD}"]
    return import_config(source, out, kind, *sizes, *kept, *overrides)


@pytest.mark.parametrize("kind", ["retinanet", "mask_rcnn"])
def test_a_frozen_checkpoint_finds_the_same_from_its_model_file(kind: str, tmp_path: Path) -> None:
    theirs = frozen(reference(kind)).eval()
    source, out = tmp_path / "theirs.pth", tmp_path / "ours.safetensors"
    torch.save(theirs.state_dict(), source)
    import_detector(_config(kind, source, out, "backbone=resnet18"))
    loaded = load_detector(out)
    assert loaded.config.detector.num_classes == CLASSES
    assert loaded.config.backbone.weights == "none"
    metadata = load_model_metadata(out)
    assert (metadata["kind"], metadata["metrics"]) == ("detector", {})
    assert set(metadata["config"]) == {"backbone", "detector"}
    images = photos(SIZES_HW)
    with torch.no_grad():
        least = 250 if kind == "retinanet" else 10
        assert_same(loaded.model(images), theirs(images), at_least=least)


def _published(name: str) -> Any:
    """Build the network of a published file with weights of the kind it has."""
    builder = {
        "retinanet": "retinanet_resnet50_fpn",
        "retinanet_v2": "retinanet_resnet50_fpn_v2",
        "mask_rcnn": "maskrcnn_resnet50_fpn",
        "keypoint_rcnn": "keypointrcnn_resnet50_fpn",
    }[name]
    kept = {"detections_per_img": 60, "score_thresh": THRESHOLD}
    if "rcnn" in name:
        kept = {f"box_{key}": value for key, value in kept.items()}
    torch.manual_seed(0)
    make = partial(torchvision.models.get_model, builder, weights=None, weights_backbone=None)
    model = awakened(make(min_size=320, max_size=512, **kept))
    return model if name == "retinanet_v2" else frozen(model)


@pytest.mark.long
@pytest.mark.parametrize("name", PUBLISHED)
def test_files_like_the_published_ones_find_the_same(name: str, tmp_path: Path) -> None:
    theirs = _published(name).eval()
    source, out = tmp_path / f"{PUBLISHED[name]}.pth", tmp_path / "ours.safetensors"
    torch.save(theirs.state_dict(), source)
    given = ["min_size=320", "max_size=512", "max_people=60", f"score_threshold={THRESHOLD}"]
    import_detector(import_config(source, out, name, *(f"detector.{x}" for x in given)))
    loaded = load_detector(out)
    assert loaded.config.detector.num_classes == (2 if name == "keypoint_rcnn" else 91)
    images = photos([(213, 320), (333, 250), (301, 457)])
    with torch.no_grad():
        if "rcnn" in name:
            assert_same(loaded.model(images), theirs(images), at_least=50)
            return
        # Of 91 random classes some scores are equal up to rounding, and which of them is kept is
        # chance; what is kept of fewer is compared above.
        batch = theirs.transform(images)[0].tensors
        expected = theirs.head(list(theirs.backbone(batch).values()))
        heads = loaded.model.heads
        found = heads.head(list(heads.backbone(batch).values()))
    assert expected["cls_logits"].std() > 0.1
    assert largest_difference(found, expected) < 1e-4


@pytest.mark.parametrize("name", PUBLISHED)
def test_torchvisions_own_file_is_fetched(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Any]] = []

    def fetch(url: str, **options: Any) -> dict[str, torch.Tensor]:
        asked.append((url, options["check_hash"]))
        return {}

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", fetch)
    with pytest.raises(UserError, match=r"^torchvision: no torchvision detector: it has neither"):
        import_detector(import_config("torchvision", tmp_path / "x.safetensors", name))
    assert asked == [(f"https://download.pytorch.org/models/{PUBLISHED[name]}.pth", True)]


@pytest.mark.parametrize(
    ("kind", "overrides", "message"),
    [
        ("mask_rcnn", [], r"theirs\.pth: it is a retinanet, not a mask_rcnn: use network=retina"),
        ("retinanet", ["detector.anchors.ratios=[1,2]"], r"45 class scores per cell, which 6 anch"),
        ("retinanet_v2", [], r"do not fit the model; missing: .*\.conv\.0\.1\.weight"),
        ("retinanet", ["backbone=resnet34"], r"do not fit the model; missing: backbone\.body\.la"),
    ],
)
def test_a_config_of_another_network_is_refused(
    kind: str, overrides: list[str], message: str, tmp_path: Path
) -> None:
    torch.save(reference("retinanet").state_dict(), tmp_path / "theirs.pth")
    out = tmp_path / "ours.safetensors"
    config = import_config(tmp_path / "theirs.pth", out, kind, "backbone=resnet18", *overrides)
    with pytest.raises(UserError, match=message) as error:
        import_detector(config)
    assert "\n" not in str(error.value)
    assert not out.exists()


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    config = import_config(tmp_path / "none.pth", tmp_path / "out.safetensors", "retinanet")
    with pytest.raises(FileNotFoundError, match=r"none\.pth: no such weights file"):
        import_detector(config)
