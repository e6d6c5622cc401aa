import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cpn.errors import UserError
from cpn.models.backbone import create_backbone
from cpn.models.timm_body import create_timm_body


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"need the package timm: pip install timm"):
        create_backbone("timm:resnet18")


@pytest.fixture
def timm() -> Any:
    return pytest.importorskip("timm")


@pytest.mark.usefixtures("timm")
def test_declared_channels_and_strides_are_those_of_the_features() -> None:
    backbone = create_backbone("timm:tf_efficientnet_lite0")
    features = backbone.eval()(torch.zeros(1, 3, 64, 96))
    assert backbone.channels == {2: 24, 3: 40, 4: 112, 5: 320}
    assert backbone.strides == {2: 4, 3: 8, 4: 16, 5: 32}
    for level, feature in features.items():
        stride = backbone.strides[level]
        assert feature.shape == (1, backbone.channels[level], 64 // stride, 96 // stride)
    assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)


def _first_weight(model: torch.nn.Module) -> Tensor:
    return next(model.parameters())


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "tf_efficientnet_lite0"])
def test_local_weights_with_flattened_names_and_leftover_head(
    name: str, timm: Any, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    whole = timm.create_model(name).eval()
    torch.save(whole.state_dict(), tmp_path / "w.pth")
    backbone = create_backbone(f"timm:{name}", weights=str(tmp_path / "w.pth"), levels=(3, 5))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        features = list(backbone.eval()(images).values())
        expected = whole.forward_intermediates(images, intermediates_only=True)
    by_shape = {tuple(feature.shape): feature for feature in expected}
    for feature in features:
        torch.testing.assert_close(feature, by_shape[tuple(feature.shape)])


def test_unexpected_keys_are_listed(timm: Any, tmp_path: Path) -> None:
    state = timm.create_model("resnet18").state_dict()
    state["strange.weight"] = torch.zeros(1)
    del state["layer1.0.conv1.weight"]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(
        UserError, match=r"missing: layer1\.0\.conv1\.weight; unexpected: strange\.weight$"
    ):
        create_backbone("timm:resnet18", weights=str(tmp_path / "w.pth"))


def test_weights_from_before_batch_counters(timm: Any, tmp_path: Path) -> None:
    state = timm.create_model("resnet18").state_dict()
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    backbone = create_backbone("timm:resnet18", weights=str(tmp_path / "old.pth"))
    assert torch.equal(backbone.body.get_parameter("conv1.weight"), state["conv1.weight"])


def _old_names(state: dict[str, Tensor], depths: list[int]) -> dict[str, Tensor]:
    """The names that the efficientnet_pytorch packages give the same tensors."""
    expanding = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv"}
    expanding |= {"bn2": "_bn1", "conv_pwl": "_project_conv", "bn3": "_bn2"}
    plain = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    outer = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head"}
    outer |= {"bn2": "_bn1", "classifier": "_fc"}
    renamed = {}
    for key, value in state.items():
        parts = key.split(".")
        if parts[0] == "blocks":
            number = sum(depths[: int(parts[1])]) + int(parts[2])
            names = plain if parts[1] == "0" else expanding
            parts = ["_blocks", str(number), names[parts[3]], *parts[4:]]
        else:
            parts[0] = outer[parts[0]]
        renamed[".".join(parts)] = value
    return renamed


def test_weights_of_the_efficientnet_packages_are_understood(timm: Any, tmp_path: Path) -> None:
    torch.manual_seed(4)
    whole = timm.create_model("tf_efficientnet_lite0").eval()
    depths = [len(stage) for stage in whole.blocks]
    torch.save(_old_names(whole.state_dict(), depths), tmp_path / "lite0.pth")
    path = str(tmp_path / "lite0.pth")
    backbone = create_backbone("timm:tf_efficientnet_lite0", weights=path).eval()
    expected = whole.state_dict()
    for key, value in backbone.body.state_dict().items():
        assert torch.equal(value, expected[key]), key


def test_levels_that_are_not_wanted_are_not_run(timm: Any) -> None:
    body = create_timm_body("tf_efficientnet_lite0", weights="none", levels=(2, 3)).module
    assert [len(list(block.parameters())) > 0 for block in body.blocks] == [True] * 3 + [False] * 4  # type: ignore[union-attr]
    assert [tuple(f.shape) for f in body.eval()(torch.zeros(1, 3, 64, 64))] == [
        (1, 24, 16, 16),
        (1, 40, 8, 8),
    ]


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("name", "stages", "last_frozen"),
    [
        ("tf_efficientnet_lite0", 1, "blocks.0.0"),
        ("tf_efficientnet_lite0", 2, "blocks.1.1"),
        ("convnext_atto", 1, "stem_1"),
        ("resnet18", 2, "layer1.1"),
    ],
)
def test_frozen_stages(name: str, stages: int, last_frozen: str) -> None:
    backbone = create_backbone(f"timm:{name}", frozen_stages=stages).train()
    flags = {key: p.requires_grad for key, p in backbone.body.named_parameters()}
    frozen = [key for key, trained in flags.items() if not trained]
    assert frozen[-1].startswith(last_frozen)
    assert list(flags.values()) == [False] * len(frozen) + [True] * (len(flags) - len(frozen))
    before = {key: value.clone() for key, value in backbone.body.named_buffers()}
    backbone(torch.randn(2, 3, 64, 64))
    prefix = tuple({key.rpartition(".")[0] for key in frozen})
    for key, value in backbone.body.named_buffers():
        if key.startswith(prefix):
            assert torch.equal(value, before[key]), key


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet19", r"timm has no model 'resnet19'; nearest: resnet18"),
        ("vit_small_patch14_dinov2", r"gives levels \[\] .* by its strides \[14\], not \[2, 3, 4"),
    ],
)
def test_unusable_models_are_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        create_backbone(f"timm:{name}")


def test_pretrained_weights_offline_name_the_way_out(
    timm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = timm.create_model

    def offline(name: str, **options: Any) -> Any:
        if options.get("pretrained"):
            raise OSError("no network\nmore")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        UserError, match=r"timm:resnet18 cannot be had \(no network\); set backbone\.weights=/path"
    ):
        create_backbone("timm:resnet18", weights="imagenet")
