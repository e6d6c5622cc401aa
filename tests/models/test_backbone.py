from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from cpn.errors import UserError
from cpn.models.backbone import Backbone, create_backbone
from cpn.models.feature_body import FeatureBody, modules_through


def _small(**options: Any) -> Backbone:
    return create_backbone("resnet10", **{"width": 0.125, **options})


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("resnet10", (64, 128, 256, 512)),
        ("resnet18", (64, 128, 256, 512)),
        ("resnet34", (64, 128, 256, 512)),
        ("resnet50", (256, 512, 1024, 2048)),
        ("resnet101", (256, 512, 1024, 2048)),
        ("resnet152", (256, 512, 1024, 2048)),
    ],
)
def test_declared_channels_and_strides(name: str, channels: tuple[int, ...]) -> None:
    with torch.device("meta"):
        backbone = create_backbone(name)
        features = backbone(torch.zeros(1, 3, 64, 96))
    assert backbone.channels == dict(zip((2, 3, 4, 5), channels, strict=True))
    assert backbone.strides == {2: 4, 3: 8, 4: 16, 5: 32}
    for level, feature in features.items():
        stride = backbone.strides[level]
        assert feature.shape == (1, backbone.channels[level], 64 // stride, 96 // stride)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_features_are_torchvisions(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    reference = torchvision.models.get_model(name, weights=None).eval()
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    backbone = create_backbone(name, weights=str(tmp_path / "weights.pth")).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        c5 = backbone(images)[5]
        logits = reference.fc(c5.mean(dim=(2, 3)))
        torch.testing.assert_close(logits, reference(images), rtol=0, atol=1e-5)


def test_width_scales_every_channel() -> None:
    narrow = _small()
    assert narrow.channels == {2: 8, 3: 16, 4: 32, 5: 64}
    assert _small(width=0.5).channels == {2: 32, 3: 64, 4: 128, 5: 256}
    assert narrow.body.get_parameter("conv1.weight").shape == (8, 3, 7, 7)


def test_levels_that_are_not_wanted_are_not_built() -> None:
    backbone = _small(levels=(2, 4))
    assert tuple(backbone(torch.zeros(1, 3, 64, 64))) == (2, 4)
    assert "layer4" not in dict(backbone.body.named_children())
    assert "layer3" in dict(backbone.body.named_children())


def test_building_leaves_batch_norm_untouched() -> None:
    backbone = _small()
    assert backbone.training
    assert backbone.body.get_buffer("bn1.num_batches_tracked").item() == 0


@pytest.mark.parametrize(
    ("frozen_stages", "frozen_modules"),
    [
        (0, set()),
        (1, {"conv1", "bn1"}),
        (2, {"conv1", "bn1", "layer1"}),
        (5, {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}),
    ],
)
def test_frozen_stages_get_no_gradient(frozen_stages: int, frozen_modules: set[str]) -> None:
    backbone = _small(frozen_stages=frozen_stages)
    frozen = {
        name.split(".")[0]
        for name, parameter in backbone.body.named_parameters()
        if not parameter.requires_grad
    }
    trained = {
        name.split(".")[0]
        for name, parameter in backbone.body.named_parameters()
        if parameter.requires_grad
    }
    assert frozen == frozen_modules
    assert not frozen & trained


def test_frozen_batch_norm_survives_train() -> None:
    model = nn.Sequential(_small(frozen_stages=2))
    model.eval()
    model.train()
    backbone = model[0]
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone(torch.randn(4, 3, 64, 64))
    changed = {
        key.split(".")[1]
        for key, value in backbone.state_dict().items()
        if not torch.equal(value, before[key])
    }
    assert changed == {"layer2", "layer3", "layer4"}
    assert backbone.training


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_from_a_file(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(1)
    state = torchvision.models.resnet18(weights=None).state_dict()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    backbone = create_backbone("resnet18", weights=str(path), levels=(2, 3))
    assert torch.equal(backbone.body.get_parameter("conv1.weight"), state["conv1.weight"])
    assert backbone.mean == (0.485, 0.456, 0.406)
    assert backbone.std == (0.229, 0.224, 0.225)


def test_weights_from_before_batch_counters(tmp_path: Path) -> None:
    state = torchvision.models.resnet18(weights=None).state_dict()
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    backbone = create_backbone("resnet18", weights=str(tmp_path / "old.pth"))
    assert torch.equal(backbone.body.get_parameter("conv1.weight"), state["conv1.weight"])


def test_weights_of_another_depth_are_refused(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "r18.pth")
    with pytest.raises(UserError, match=r"r18\.pth do not fit .* missing: layer1\.2\."):
        create_backbone("resnet34", weights=str(tmp_path / "r18.pth"))


def test_imagenet_weights_offline_name_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", offline)
    with pytest.raises(
        UserError,
        match=r"resnet18 cannot be downloaded .*no network.* backbone\.weights=/path.*=none",
    ):
        create_backbone("resnet18", weights="imagenet")


def test_imagenet_weights_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    state: dict[str, torch.Tensor] = torchvision.models.resnet18(weights=None).state_dict()
    urls: list[str] = []

    def download(url: str, *_: Any, **__: Any) -> dict[str, torch.Tensor]:
        urls.append(url)
        return state

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", download)
    backbone = create_backbone("resnet18", weights="imagenet")
    assert torch.equal(backbone.body.get_parameter("conv1.weight"), state["conv1.weight"])
    assert "resnet18" in urls[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "vgg16"}, r"backbone 'vgg16' is unknown; allowed: resnet10, .*timm:<name>"),
        ({"levels": ()}, r"ascending, non-empty subset of \[2, 3, 4, 5\], got \[\]"),
        ({"levels": (3, 2)}, r"ascending, non-empty subset .* got \[3, 2\]"),
        ({"levels": (5, 6)}, r"ascending, non-empty subset .* got \[5, 6\]"),
        ({"width": 0.0}, r"backbone\.width must be above 0, got 0"),
        ({"weights": "imagenet", "width": 0.5}, r"needs backbone\.width=1, got .*0\.5"),
        ({"weights": "imagenet"}, r"resnet10 has no ImageNet weights.*resnet18"),
        ({"frozen_stages": 6}, r"frozen_stages must be one of \[0, 1, 2, 3, 4, 5\].* got 6"),
        ({"frozen_stages": 5, "levels": (2, 3)}, r"one of \[0, 1, 2, 3\] .*levels \[2, 3\], got 5"),
        ({"drop_path": 0.1}, r"backbone\.drop_path=0\.1: resnet10 has none: 0"),
        ({"name": "timm:resnet18", "width": 0.5}, r"width applies to resnet<depth> only, got 0\.5"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        create_backbone(**{"name": "resnet10", **options})


def test_missing_weights_file() -> None:
    with pytest.raises(FileNotFoundError, match=r"/nowhere/w\.pth: no such weights file"):
        create_backbone("resnet18", weights="/nowhere/w.pth")


def test_modules_through_leaves_out_what_holds_later_ones() -> None:
    body = nn.Sequential()
    body.add_module("stem", nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()))
    body.add_module("stages_0", nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))
    body.add_module("stages_1", nn.Conv2d(3, 3, 1))
    names = {id(module): name for name, module in body.named_modules()}
    found = [names[id(module)] for module in modules_through(body, "stages.0")]
    assert found == ["stem", "stem.0", "stem.1", "stages_0", "stages_0.0", "stages_0.1"]
    inner = [names[id(module)] for module in modules_through(body, "stem.0")]
    assert inner == ["stem.0"]


def test_pixel_statistics_come_from_the_body() -> None:
    body = FeatureBody(nn.Identity(), {2: 3}, {2: 1}, {}, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    backbone = Backbone(body)
    assert backbone.mean == (0.5, 0.5, 0.5)
    assert backbone.std == (0.25, 0.25, 0.25)


@pytest.mark.parametrize("frozen_stages", [1, 3])
def test_frozen_stages_stay_frozen_with_shared_batch_norm(frozen_stages: int) -> None:
    def modes(backbone: nn.Module) -> dict[str, bool]:
        return {name: module.training for name, module in backbone.named_modules()}

    backbone = _small(frozen_stages=frozen_stages)
    expected = modes(backbone.train())
    shared: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(backbone)  # type: ignore[no-untyped-call]
    norms = [module for module in shared.modules() if isinstance(module, nn.SyncBatchNorm)]
    assert {module.training for module in norms} == {True, False}
    assert not any(modes(shared.eval()).values())
    assert modes(shared.train()) == expected
    assert not shared.get_parameter("body.bn1.weight").requires_grad
