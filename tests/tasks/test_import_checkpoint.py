"""A pytorch-cpn checkpoint becomes a model file that `cpn.load_model` reads."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

import cpn
from cpn.build import build_model, load_model_with_metadata
from cpn.command_line.composed import validate
from cpn.config.schema import ImportCheckpointConfig, TrainConfig
from cpn.errors import UserError
from cpn.models.cpn import CpnOutput
from cpn.models.statistics import model_statistics
from cpn.skeleton import COCO_17
from cpn.tasks.import_checkpoint import import_checkpoint

CONFIGS = Path(__file__).parents[2] / "configs"


def import_config(source: Path, out: Path) -> ImportCheckpointConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = compose("import_checkpoint", overrides=[f"source={source}", f"out={out}"])
    return validate(composed, ImportCheckpointConfig)


def test_a_published_checkpoint_gives_pytorch_cpns_outputs(
    published_state: Mapping[str, Tensor],
    golden_input: Tensor,
    golden_folder: Path,
    tmp_path: Path,
) -> None:
    source, out = tmp_path / "epoch32checkpoint.pth.tar", tmp_path / "imported.safetensors"
    state = {f"module.{key}": value for key, value in published_state.items()}
    optimizer = {"state": {0: {"step": 3}}, "param_groups": [{"lr": 5e-4, "params": [0]}]}
    torch.save({"epoch": 32, "state_dict": state, "optimizer": optimizer}, source)
    import_checkpoint(import_config(source, out))
    loaded = load_model_with_metadata(out)
    assert loaded.config.backbone.name == "resnet50"
    assert loaded.config.decode.method == "quarter"
    assert (loaded.skeleton, loaded.metrics) == (COCO_17, {})
    with torch.no_grad():
        output: CpnOutput = cpn.load_model(out)(golden_input)
    golden = np.load(golden_folder / "cpn50_outputs.npz")
    assert output.refined_heatmaps is not None
    heatmaps = {f"global_{index}": maps for index, maps in enumerate(output.global_heatmaps)}
    for name, maps in {**heatmaps, "refine": output.refined_heatmaps}.items():
        # the cells that the golden file keeps
        cells = maps.numpy()[:, :, 1::4, 2::4]
        np.testing.assert_allclose(cells, golden[name], rtol=0, atol=2e-4, err_msg=name)


def test_other_keypoints_than_cocos_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "five.pth.tar"
    state = {f"resnet.layer3.{index}.conv1.weight": torch.zeros(1) for index in range(6)}
    state["refine_net.final_predict.1.weight"] = torch.zeros(5, 256, 3, 3)
    torch.save({"state_dict": state}, source)
    with pytest.raises(UserError, match=r"five\.pth\.tar: it predicts 5 keypoints; .* COCO's 17"):
        import_checkpoint(import_config(source, tmp_path / "out.safetensors"))
    assert not (tmp_path / "out.safetensors").exists()


def test_cpn_101_at_384x288_has_the_published_size_and_cost() -> None:
    overrides = ["experiment=r101_384x288", "backbone.weights=none"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = validate(compose("train", overrides=overrides), TrainConfig)
    model = build_model(config, num_keypoints=17)
    statistics = model_statistics(model, (config.input.height, config.input.width))
    assert statistics.parameters == 46_398_954
    assert statistics.gflops == pytest.approx(24.642, abs=5e-4)
