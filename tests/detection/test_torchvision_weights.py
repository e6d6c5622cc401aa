import re
from collections.abc import Callable
from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from cpn.detection.torchvision_weights import (
    NORM_EPS,
    convert_torchvision,
    count_classes,
    detector_kind,
    download_published,
)
from cpn.errors import UserError
from tests.detectors import CLASSES, awakened, frozen, reference

LEVELS = {"retinanet": (3, 4, 5), "mask_rcnn": (2, 3, 4, 5), "keypoint_rcnn": (2, 3, 4, 5)}
State = dict[str, Tensor]


def _converted(state: State, kind: str = "retinanet", frozen_eps: float = 0.0) -> State:
    return convert_torchvision(state, levels=LEVELS[kind], frozen_eps=frozen_eps)


def _old_name(key: str) -> str:
    """Name a weight as torchvision did before 0.13."""
    key = re.sub(r"(inner_blocks|layer_blocks)\.(\d)\.0\.", r"\1.\2.", key)
    key = re.sub(r"_head\.conv\.(\d)\.0\.", lambda m: f"_head.conv.{2 * int(m[1])}.", key)
    key = re.sub(r"rpn\.head\.conv\.0\.0\.", "rpn.head.conv.", key)
    return re.sub(r"mask_head\.(\d)\.0\.", lambda m: f"mask_head.mask_fcn{int(m[1]) + 1}.", key)


@pytest.mark.parametrize("kind", LEVELS)
def test_old_names_convert_to_the_same(kind: str) -> None:
    model = reference(kind)
    state = model.state_dict()
    old = {_old_name(key): value for key, value in state.items()}
    assert old.keys() != state.keys()
    model.load_state_dict(dict(old))  # torchvision itself takes them
    new, same = _converted(dict(state), kind), _converted(old, kind)
    assert new.keys() == same.keys()
    assert all(same[name].equal(value) for name, value in new.items())
    assert len(new) == len(state)


def test_a_batch_norm_of_its_own_epsilon_is_left_alone() -> None:
    state = reference("retinanet").state_dict()
    converted = _converted(dict(state), frozen_eps=0.5)
    for key in ("backbone.body.bn1.weight", "backbone.body.layer1.0.bn1.running_var"):
        assert converted[key].equal(state[key])


@pytest.mark.parametrize("frozen_eps", [0.0, 1e-5, 1e-3])
def test_the_epsilon_of_a_frozen_norm_moves_into_its_weight(frozen_eps: float) -> None:
    torch.manual_seed(0)
    theirs, ours = FrozenBatchNorm2d(3, eps=frozen_eps), nn.BatchNorm2d(3).eval()
    assert ours.eps == NORM_EPS
    awakened(theirs)
    theirs.running_var.copy_(torch.tensor([1e-9, 1e-5, 3.0]))
    names = {f"backbone.body.bn1.{key}": value for key, value in theirs.state_dict().items()}
    converted = _converted(names, frozen_eps=frozen_eps)
    ours.load_state_dict({key.split(".")[-1]: value for key, value in converted.items()})
    images = torch.randn(2, 3, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-5)
    if not frozen_eps:  # weight / sqrt(var) = (weight * sqrt(2)) / sqrt(var + 1e-5)
        weight = names["backbone.body.bn1.weight"][1]
        assert converted["backbone.body.bn1.weight"][1] == pytest.approx(float(weight) * 2**0.5)
    # What it was given is as it was.
    assert names["backbone.body.bn1.weight"].equal(theirs.weight)


def test_classes_and_kind_are_read_off_the_weights() -> None:
    dense, two_stage = reference("retinanet").state_dict(), reference("mask_rcnn").state_dict()
    assert (detector_kind(dense), detector_kind(two_stage)) == ("retinanet", "mask_rcnn")
    assert count_classes(dense, anchors_per_cell=9) == CLASSES
    assert count_classes(two_stage, anchors_per_cell=3) == CLASSES
    with pytest.raises(UserError, match=r"45 class scores per cell, which 6 anchors cannot share"):
        count_classes(dense, anchors_per_cell=6)
    with pytest.raises(UserError, match=r"it tells 1 class apart; it takes 2 or more"):
        count_classes(dense, anchors_per_cell=45)


def _without_detector(state: State) -> None:
    for key in [key for key in state if "head" in key]:
        del state[key]


def test_a_classifier_is_no_detector() -> None:
    state = dict(reference("retinanet").state_dict())
    _without_detector(state)
    with pytest.raises(UserError, match=r"no torchvision detector: it has neither head\.class"):
        detector_kind(state)


def _zero_variance(state: State) -> None:
    state["backbone.body.layer2.0.bn1.running_var"][3] = 0


def _both_names(state: State) -> None:
    state["backbone.fpn.inner_blocks.0.weight"] = state["backbone.fpn.inner_blocks.0.0.weight"]


def _unknown(state: State) -> None:
    state["backbone.body.fc.weight"] = torch.zeros(1)


def _level_too_many(state: State) -> None:
    state["backbone.fpn.layer_blocks.3.0.bias"] = torch.zeros(256)


def _between_convolutions(state: State) -> None:
    state["head.classification_head.conv.1.bias"] = torch.zeros(256)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_zero_variance, r"^backbone\.body\.layer2\.0\.bn1\.running_var has a variance of 0\.0"),
        (_both_names, r"inner_blocks\.0\.(0\.)?weight is there twice, by its old and its new name"),
        (_unknown, r"on levels \[3, 4, 5\]: 1 unknown keys, e\.g\. backbone\.body\.fc\.weight"),
        (_level_too_many, r"unknown keys, e\.g\. backbone\.fpn\.layer_blocks\.3\.0\.bias"),
        (_between_convolutions, r"unknown keys, e\.g\. head\.classification_head\.conv\.1\.bias"),
    ],
)
def test_what_is_not_torchvisions_is_refused(spoil: Callable[[State], None], message: str) -> None:
    state = {
        key: value.clone() for key, value in frozen(reference("retinanet")).state_dict().items()
    }
    assert _converted(dict(state))
    spoil(state)
    with pytest.raises(UserError, match=message):
        _converted(state)


def test_a_download_that_fails_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", offline)
    message = r"retinanet_resnet50_fpn_coco-eeacb38b\.pth cannot be downloaded .*set source=/path"
    with pytest.raises(UserError, match=message):
        download_published("retinanet_resnet50_fpn")
