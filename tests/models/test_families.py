"""One network of each family of backbones, trained by one step."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from hydra import compose, initialize_config_dir
from torchvision.ops import StochasticDepth

from cpn.build import build_model
from cpn.command_line.composed import validate
from cpn.config.schema import TrainConfig
from cpn.errors import UserError
from cpn.models.backbone import Backbone, check_input, create_backbone
from cpn.tasks.training.session import optimizer_for

CONFIGS = Path(__file__).parents[2] / "configs"
FAMILIES = {
    "resnet18": (64, 128, 256, 512),
    "torchvision:resnext50_32x4d": (256, 512, 1024, 2048),
    "torchvision:wide_resnet50_2": (256, 512, 1024, 2048),
    "torchvision:convnext_tiny": (96, 192, 384, 768),
    "torchvision:regnet_y_400mf": (48, 104, 208, 440),
    "torchvision:swin_t": (96, 192, 384, 768),
    "torchvision:efficientnet_b0": (24, 40, 112, 320),
    "torchvision:mobilenet_v3_small": (16, 24, 48, 96),
    "timm:inception_resnet_v2": (192, 320, 1088, 1536),
    "timm:swin_tiny_patch4_window7_224": (96, 192, 384, 768),
    "timm:vit_tiny_patch16_224": (48, 96, 192, 192),
}


def config_of(name: str, *overrides: str) -> TrainConfig:
    fixed = [f"backbone.name={name}", "backbone.weights=none", "model.pyramid.channels=8"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return validate(compose("train", ["data=synthetic", *fixed, *overrides]), TrainConfig)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_network_of_each_family_learns(name: str) -> None:
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    torch.manual_seed(0)
    small = ("input.height=96", "input.width=64", "optimizer.layer_decay=0.5")
    config = config_of(name, *small)
    model = build_model(config, num_keypoints=3).train()
    assert tuple(model.backbone.channels.values()) == FAMILIES[name]
    assert model.backbone.strides == {2: 4, 3: 8, 4: 16, 5: 32}
    before = {key: value.clone() for key, value in model.backbone.named_parameters()}
    out = model(torch.randn(2, 3, 96, 64))
    assert out.final.shape == (2, 3, 24, 16)
    levels = sum(each.square().mean() for each in out.global_heatmaps)
    (out.final.square().mean() + levels).backward()
    assert [key for key, each in model.backbone.named_parameters() if each.grad is None] == []
    optimizer_for(model, config.optimizer).step()
    # Not all: ConvNeXt scales its blocks by 1e-6 at first.
    same = [value.equal(before[key]) for key, value in model.backbone.named_parameters()]
    assert sum(same) < 0.15 * len(same)


@pytest.mark.parametrize("name", ["resnext50_32x4d", "convnext_tiny", "regnet_y_400mf", "swin_t"])
def test_features_are_torchvisions(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole: Any = torchvision.models.get_model(name, weights=None).eval()
    torch.save(whole.state_dict(), tmp_path / "weights.pth")
    backbone = create_backbone(f"torchvision:{name}", weights=str(tmp_path / "weights.pth")).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        c5 = backbone(images)[5]
        if name == "swin_t":
            c5 = whole.norm(c5.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        pooled = c5.mean(dim=(2, 3), keepdim=True)
        head = whole.classifier if name == "convnext_tiny" else getattr(whole, "fc", None)
        head = head or whole.head
        logits = head(pooled if name == "convnext_tiny" else pooled.flatten(1))
        torch.testing.assert_close(logits, whole(images), rtol=0, atol=1e-5)


def test_stages_that_are_not_wanted_are_not_there() -> None:
    body: Any = create_backbone("torchvision:efficientnet_b0", levels=(2, 3)).body
    assert {key.split(".")[2] for key, _ in body.named_parameters()} == {"0", "1", "2", "3"}


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_regnet_is_laid_out_on_any_device(device: str) -> None:
    with torch.device(device):
        backbone = create_backbone("torchvision:regnet_y_400mf")
    assert {each.device.type for each in backbone.parameters()} == {device}


def _drops(backbone: Backbone) -> list[float]:
    return [each.p for each in backbone.modules() if isinstance(each, StochasticDepth)]


def test_drop_path_rises_to_the_last_block() -> None:
    assert set(_drops(create_backbone("torchvision:convnext_tiny"))) == {0.0}
    rates = _drops(create_backbone("torchvision:convnext_tiny", drop_path=0.34))
    assert rates == pytest.approx([0.02 * index for index in range(18)])


def test_drop_path_of_timm() -> None:
    pytest.importorskip("timm")
    plain, dropping = (create_backbone("timm:convnext_atto", drop_path=rate) for rate in (0.0, 0.3))
    rates = [
        [each.drop_prob for each in body.modules() if type(each).__name__ == "DropPath"]
        for body in (plain, dropping)
    ]
    assert rates[0] == []
    assert rates[1][-1] == pytest.approx(0.3)


def test_a_vision_transformer_keeps_its_weights(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(1)
    whole = timm.create_model("vit_tiny_patch16_224").eval()
    torch.save(whole.state_dict(), tmp_path / "vit.pth")
    backbone = create_backbone("timm:vit_tiny_patch16_224", weights=str(tmp_path / "vit.pth"))
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        tokens = whole.forward_features(images)[:, 1:]
        found = backbone.eval()(images)
    expected = tokens.reshape(1, 14, 14, 192).permute(0, 3, 1, 2)
    torch.testing.assert_close(found[4], expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(found[5], torch.nn.functional.max_pool2d(found[4], 2))


def test_layers_are_counted_from_the_end() -> None:
    pytest.importorskip("timm")
    layers = create_backbone("timm:vit_tiny_patch16_224").layers_to_end()
    assert layers["body.network.model.pos_embed"] == 13
    assert layers["body.network.model.patch_embed.proj.weight"] == 13
    assert layers["body.network.model.blocks.0.attn.qkv.weight"] == 12
    assert layers["body.network.model.blocks.11.attn.qkv.weight"] == 1
    assert layers["body.resized.0.0.weight"] == 0
    stages = create_backbone("resnet10", width=0.125).layers_to_end()
    assert [stages[f"body.{key}"] for key in ("conv1.weight", "layer1.0.conv1.weight")] == [5, 4]
    assert stages["body.layer4.0.conv1.weight"] == 1


def test_layers_nearer_to_the_input_learn_less() -> None:
    config = config_of("resnet18", "optimizer.layer_decay=0.5", "optimizer.backbone_lr_scale=0.8")
    model = build_model(config, num_keypoints=3, weights="none")
    rates = {
        id(parameter): group["lr"] / config.optimizer.lr
        for group in optimizer_for(model, config.optimizer).param_groups
        for parameter in group["params"]
    }
    body = model.backbone.body
    assert rates[id(body.get_parameter("conv1.weight"))] == pytest.approx(0.8 / 32)
    assert rates[id(body.get_parameter("layer4.0.conv1.weight"))] == pytest.approx(0.8 / 2)
    assert {rates[id(each)] for each in model.pyramid.parameters()} == {1.0}


def test_all_of_a_vision_transformer_can_be_frozen() -> None:
    pytest.importorskip("timm")
    backbone = create_backbone("timm:vit_tiny_patch16_224", frozen_stages=5)
    trained = [name for name, each in backbone.named_parameters() if each.requires_grad]
    assert {name.split(".")[1] for name in trained} == {"resized"}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnext51", {}, r"torchvision has no classifier 'resnext51'; nearest: resnet50"),
        ("vgg11", {}, r"torchvision:vgg11 cannot be a backbone; families: ResNet, ResNeXt"),
        ("resnext50_32x4d", {"drop_path": 0.1}, r"drop_path=0\.1: torchvision:resnext50_32x4d has"),
        ("swin_t", {"width": 0.5}, r"backbone\.width applies to resnet<depth> only, got 0\.5"),
    ],
)
def test_what_torchvision_has_not_is_refused(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        create_backbone(f"torchvision:{name}", **options)


def test_an_input_that_a_network_does_not_take_is_refused() -> None:
    pytest.importorskip("timm")
    config = config_of("timm:hiera_tiny_224", "input.height=128", "input.width=96")
    with pytest.raises(UserError, match=r"timm:hiera_tiny_224 takes no input of 128x96 \("):
        build_model(config, num_keypoints=3)


def test_an_input_that_does_not_fit_the_strides_is_refused() -> None:
    pytest.importorskip("timm")
    backbone = create_backbone("timm:vit_tiny_patch16_224")
    with pytest.raises(UserError, match=r"gives maps of .*5: \(8, 2\)\} .* 5: \(8, 3\)\}; choose"):
        check_input(backbone, "timm:vit_tiny_patch16_224", (256, 80))
