import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cpn.build import load_model
from cpn.config.schema import TrainConfig
from cpn.errors import UserError
from cpn.skeleton import COCO_17, Skeleton
from cpn.tasks.train import train
from cpn.tasks.training.starting_model import starting_model

MakeConfig = Callable[..., TrainConfig]
# A keypoint that COCO has not, and two that it has, in another order.
THREE = Skeleton(("tail", "nose", "left_eye"), (), (), (0.1, 0.1, 0.1))
HEAD = "refine_net.heatmaps.weight"


@pytest.fixture
def start(tiny_config: MakeConfig, make_checkpoint: Callable[..., Path]) -> Callable[..., Any]:
    """`start(THREE, "start.strict=false")`: the state with which a training begins."""
    path = make_checkpoint()

    def begin(skeleton: Skeleton, *overrides: str) -> dict[str, Tensor]:
        torch.manual_seed(1)
        config = tiny_config(f"start.checkpoint={path}", *overrides)
        return starting_model(config, skeleton).state_dict()

    begin.__dict__["state"] = load_model(path).state_dict()
    return begin


def test_the_same_keypoints_begin_as_the_checkpoint(start: Any) -> None:
    state = start(COCO_17)
    assert all(torch.equal(state[key], value) for key, value in start.state.items())


def test_keypoints_of_the_same_name_begin_as_they_were(
    start: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        state = start(THREE)
    assert torch.equal(state[HEAD][1:], start.state[HEAD][:2])
    assert state[HEAD].shape[0] == 3
    assert torch.equal(
        state["pyramid.laterals.p5.conv.weight"], start.state["pyramid.laterals.p5.conv.weight"]
    )
    assert "start: keypoints that begin anew: tail" in caplog.text
    assert f"start: {HEAD}: 2 of 3 keypoints" in caplog.text
    assert "pyramid 42 of 42, global_net 28 of 48" in caplog.text


def test_heads_may_begin_anew(start: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        state = start(COCO_17, "start.keypoints=none")
    assert not torch.equal(state[HEAD], start.state[HEAD])
    assert f"start: {HEAD} begins anew" in caplog.text


def test_heads_of_other_heatmaps_begin_anew(start: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        state = start(COCO_17, "heatmap=blurred_one_hot")
    assert not torch.equal(state[HEAD], start.state[HEAD])
    assert "heads begin anew: they were trained on heatmap.family=gaussian" in caplog.text


def test_another_network_is_refused_unless_asked_for(
    start: Any, caplog: pytest.LogCaptureFixture
) -> None:
    deeper = "model.refine.bottlenecks.p5=4"
    with pytest.raises(UserError, match=r"another network .* begin anew \(refine_net\.cascade\.p5"):
        start(COCO_17, deeper)
    with caplog.at_level(logging.INFO):
        start(COCO_17, deeper, "start.strict=false")
    assert "start: refine_net.cascade.p5.3.reduce.conv.weight begins anew" in caplog.text
    with pytest.raises(UserError, match="174 would not be used"):
        start(COCO_17, "model.refine.enabled=false")
    with pytest.raises(UserError, match="not one convolution of its backbone"):
        start(COCO_17, "backbone.width=0.25", "start.strict=false")


def test_published_weights_are_a_start(
    published_state: Mapping[str, Tensor], tiny_config: MakeConfig, tmp_path: Path
) -> None:
    path = tmp_path / "epoch32.pth.tar"
    torch.save({"state_dict": dict(published_state)}, path)
    overrides = ["backbone=resnet50", "backbone.width=1", "model=cpn", "model.pyramid.channels=256"]
    config = tiny_config(*overrides, "heatmap=blurred_one_hot", f"start.checkpoint={path}")
    state = starting_model(config, THREE).state_dict()
    assert torch.equal(state[HEAD][1], published_state["refine_net.final_predict.1.weight"][0])


def test_tensorflows_checkpoints_are_told(tiny_config: MakeConfig, tmp_path: Path) -> None:
    path = tmp_path / "snapshot_350.ckpt.index"
    path.touch()
    with pytest.raises(UserError, match="read by TensorFlow alone"):
        starting_model(tiny_config(f"start.checkpoint={path}"), COCO_17)


def test_a_training_starts_and_its_start_may_not_change(
    tiny_config: MakeConfig, make_checkpoint: Callable[..., Path]
) -> None:
    path = make_checkpoint()
    frozen = ["engine.epochs=1", "optimizer.lr=1e-9", "engine.freeze_batch_norm=true"]
    train(tiny_config(f"start.checkpoint={path}", *frozen))
    before, run = load_model(path), tiny_config().run
    after = load_model(Path(run.root) / run.name / "model.safetensors").state_dict()
    for key, value in before.named_parameters():
        torch.testing.assert_close(after[key], value.detach(), rtol=0, atol=1e-5)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        train(tiny_config(f"start.checkpoint={path}", *frozen, "run.if_exists=resume"))
