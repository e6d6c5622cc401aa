import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cpn.errors import UserError
from cpn.losses import CpnLoss
from cpn.models.cpn import CascadedPyramidNetwork, CpnOutput
from cpn.models.pytorch_cpn import convert_pytorch_cpn, read_pytorch_cpn

Build = Callable[..., CascadedPyramidNetwork]
LEVELS = ("p5", "p4", "p3", "p2")


def _sampled(heatmaps: Tensor) -> np.ndarray[Any, np.dtype[Any]]:
    """The cells that the golden files keep: every fourth, from (1, 2) on."""
    cells: np.ndarray[Any, np.dtype[Any]] = heatmaps.detach().numpy()[:, :, 1::4, 2::4]
    return cells


def _assert_outputs(out: CpnOutput, golden: Mapping[str, Any], tolerance: float) -> None:
    for index, heatmaps in enumerate(out.global_heatmaps):
        np.testing.assert_allclose(
            _sampled(heatmaps), golden[f"global_{index}"], rtol=0, atol=tolerance
        )
    assert out.refined_heatmaps is not None
    np.testing.assert_allclose(
        _sampled(out.refined_heatmaps), golden["refine"], rtol=0, atol=tolerance
    )


def test_outputs_are_pytorch_cpns(
    cpn50: CascadedPyramidNetwork, golden_input: Tensor, golden_folder: Path
) -> None:
    with torch.no_grad():
        out: CpnOutput = cpn50(golden_input)
    _assert_outputs(out, np.load(golden_folder / "cpn50_outputs.npz"), 2e-4)


def test_training_step_is_pytorch_cpns(
    cpn50: CascadedPyramidNetwork,
    golden_input: Tensor,
    golden_folder: Path,
    published_state: Mapping[str, Tensor],
) -> None:
    inputs = np.load(golden_folder / "cpn50_step_inputs.npz")
    expected = json.loads((golden_folder / "cpn50_step.json").read_text())
    targets = [torch.from_numpy(inputs[f"target_{kernel}"]) for kernel in (15, 11, 9, 7)]
    out: CpnOutput = cpn50.train()(golden_input)
    loss = CpnLoss(LEVELS)(
        out.global_heatmaps,
        out.refined_heatmaps,
        targets,
        targets[-1],
        torch.from_numpy(inputs["valid"]),
    )
    loss.total.backward()
    _assert_outputs(out, np.load(golden_folder / "cpn50_step_outputs.npz"), 2e-4)
    figures = expected["loss"]
    parts = {name: value.item() for name, value in loss.parts.items()}
    assert [parts[f"global_{level}"] for level in LEVELS] == pytest.approx(
        figures["global_per_level"], rel=1e-4
    )
    assert parts["refine"] == pytest.approx(figures["refine"], rel=1e-4)
    assert loss.total.item() == pytest.approx(figures["total"], rel=1e-4)
    norms = _gradient_norms(cpn50)
    total = sum(norm**2 for norm in norms.values()) ** 0.5
    assert total == pytest.approx(expected["grad_l2_total"], rel=1e-4)
    converted = convert_pytorch_cpn(published_state).state_dict
    ours = {id(value): name for name, value in converted.items()}
    for key, norm in expected["grad_l2"].items():
        assert norms[ours[id(published_state[key])]] == pytest.approx(norm, rel=1e-4), key


def _gradient_norms(model: CascadedPyramidNetwork) -> dict[str, float]:
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    norms = {name: grad.norm().item() for name, grad in gradients.items() if grad is not None}
    assert len(norms) == len(gradients)
    return norms


def test_every_key_has_one_place_of_the_right_shape(
    published_state: Mapping[str, Tensor], meta_cpn: Build
) -> None:
    converted = convert_pytorch_cpn(published_state)
    target = meta_cpn("resnet50").state_dict()
    assert len(published_state) == 582
    assert converted.backbone == "resnet50"
    assert converted.num_keypoints == 17
    assert {key: value.shape for key, value in converted.state_dict.items()} == {
        key: value.shape for key, value in target.items()
    }
    originals = {id(value) for value in published_state.values()}
    placed = [key for key, value in converted.state_dict.items() if id(value) in originals]
    assert sorted(set(target) - set(placed)) == ["pixel_mean", "pixel_std"]


def test_input_statistics_are_the_originals(published_state: Mapping[str, Tensor]) -> None:
    state = convert_pytorch_cpn(published_state).state_dict
    assert (state["pixel_mean"] * 255).flatten().tolist() == pytest.approx(
        [122.7717, 115.9465, 102.9801]
    )
    assert state["pixel_std"].flatten().tolist() == [1.0] * 3


def test_prefix_classifier_and_missing_counters(published_state: Mapping[str, Tensor]) -> None:
    old = {
        f"module.{key}": value
        for key, value in published_state.items()
        if not key.endswith("num_batches_tracked")
    }
    old["module.resnet.fc.weight"] = torch.zeros(1000, 2048)
    state = convert_pytorch_cpn(old).state_dict
    assert set(state) == set(convert_pytorch_cpn(published_state).state_dict)
    assert state["refine_net.norm.num_batches_tracked"].dtype == torch.int64


@pytest.mark.parametrize(
    ("blocks", "name"), [(6, "resnet50"), (23, "resnet101"), (36, "resnet152")]
)
def test_depth_and_keypoints_are_detected(blocks: int, name: str) -> None:
    state = {f"resnet.layer3.{index}.conv1.weight": torch.zeros(1) for index in range(blocks)}
    state["refine_net.final_predict.1.weight"] = torch.zeros(5, 256, 3, 3)
    converted = convert_pytorch_cpn(state)
    assert (converted.backbone, converted.num_keypoints) == (name, 5)


@pytest.mark.parametrize(
    "key",
    ["global_net.laterals.4.0.weight", "global_net.upsamples.0.0.weight", "head.weight"],
)
def test_unknown_keys_are_refused(key: str, published_state: Mapping[str, Tensor]) -> None:
    with pytest.raises(UserError, match=r"not a pytorch-cpn checkpoint: 1 unknown keys") as caught:
        convert_pytorch_cpn({**published_state, key: torch.zeros(1)})
    assert key in str(caught.value)


def test_what_is_no_cpn_is_refused() -> None:
    with pytest.raises(UserError, match=r"0 blocks in resnet.layer3 .* and no refine_net"):
        convert_pytorch_cpn({"resnet.conv1.weight": torch.zeros(1)})


def test_published_file_is_read_beside_its_optimizer(
    tmp_path: Path, published_state: Mapping[str, Tensor]
) -> None:
    key = "global_net.predict.0.5.weight"
    optimizer = {"state": {0: {"step": 3, "exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}
    content = {"epoch": 32, "state_dict": {f"module.{key}": published_state[key]}}
    torch.save({**content, "optimizer": optimizer}, tmp_path / "epoch32checkpoint.pth.tar")
    state = read_pytorch_cpn(tmp_path / "epoch32checkpoint.pth.tar")
    assert list(state) == [key]
    assert torch.equal(state[key], published_state[key])
