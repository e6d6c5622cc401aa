import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from cpn.build import build_model
from cpn.config.schema import TrainConfig
from cpn.errors import UserError
from cpn.skeleton import COCO_17, Skeleton
from cpn.tasks.train import train
from cpn.tasks.training.criterion import build_criterion

MakeConfig = Callable[..., TrainConfig]


@pytest.fixture
def student(tiny_config: MakeConfig, make_checkpoint: Callable[..., Path]) -> Callable[..., Any]:
    """`student("loss=l2")`: a criterion with the teacher `make_checkpoint` gives."""
    path = make_checkpoint()

    def make(*overrides: str, skeleton: Skeleton = COCO_17) -> Any:
        config = tiny_config(f"distill.teacher={path}", *overrides)
        model = build_model(config, num_keypoints=skeleton.num_keypoints)
        return build_criterion(config, model, skeleton, torch.device("cpu"))

    return make


def test_the_teacher_is_told(student: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        student("distill.weight=0.25")
    assert "distill: 0.25 of the loss is the distance to" in caplog.text
    assert "(resnet10, 64x64, AP nan)" in caplog.text


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("heatmap=blurred_one_hot", r"its heatmap\.family are gaussian"),
        ("model.heatmap_stride=8", r"its model\.heatmap_stride are 4, the student's 8"),
    ],
)
def test_a_teacher_of_other_heatmaps_is_refused(student: Any, override: str, what: str) -> None:
    with pytest.raises(UserError, match=what):
        student(override)


def test_a_teacher_of_other_keypoints_is_refused(student: Any) -> None:
    with pytest.raises(UserError, match=r"its keypoints are \['nose', .* the student's \['tail'\]"):
        student(skeleton=Skeleton(("tail",), (), (), (0.1,)))


def test_native_levels_have_no_teacher(student: Any) -> None:
    with pytest.raises((UserError, ValidationError), match="set it to upsampled"):
        student("model.global_net.supervision=native")


def test_a_student_is_trained(
    tiny_config: MakeConfig, make_checkpoint: Callable[..., Path]
) -> None:
    """With all of the weight on the teacher, the distance to it is the whole loss."""
    train(tiny_config(f"distill.teacher={make_checkpoint()}", "distill.weight=1"))
    run = tiny_config().run
    lines = (Path(run.root) / run.name / "metrics.jsonl").read_text().splitlines()
    steps = [step for step in map(json.loads, lines) if step["kind"] == "train"]
    assert len(steps) == 6
    assert [step["loss"] for step in steps] == pytest.approx([step["mimic"] for step in steps])
