import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cpn.build_detector import build_detector, save_detector
from cpn.config.detector_schema import DetectorNetworkConfig
from cpn.detection.detector import Detector
from cpn.detection.people_only import look_for_one_class
from cpn.engine.precision import Precision
from cpn.prediction.person_detector import Look, TrainedDetector, find_people, set_inference
from tests.detectors import SMALL, changed, detector_config, photos, reference, twin

CPU = torch.device("cpu")


def _found(model: Any, count: int = 2) -> Any:
    sizes = [(96, 128)] * count
    images = [(255 * photo.permute(1, 2, 0)).byte().numpy() for photo in photos(sizes)]
    return find_people(model, images, device=CPU, precision=Precision("fp32", CPU))


class _Answers:
    """A network that gives what it is told for every photo."""

    class heads:  # noqa: N801 - an attribute of a network
        class transform:  # noqa: N801
            max_size = 200

    def __init__(self, boxes: list[list[float]]) -> None:
        n = len(boxes)
        labels = torch.ones(n, dtype=torch.int64)
        self.answer = {
            "boxes": torch.tensor(boxes),
            "scores": torch.linspace(0.9, 0.1, n),
            "labels": labels,
        }

    def __call__(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        return [self.answer for _ in images]


def test_a_box_of_which_nothing_is_inside_the_photo_is_nobody() -> None:
    boxes = [[0.0, 0.0, 10.0, 0.0], [0.0, 0.0, 10.0, 20.0], [7.0, 0.0, 7.005, 9.0]]
    (found,) = _found(_Answers(boxes), count=1)
    np.testing.assert_array_equal(found.boxes_xyxy, boxes[1:2])


def test_a_box_that_is_not_finite_is_not_hidden() -> None:
    (found,) = _found(_Answers([[0.0, 0.0, float("nan"), 5.0]]), count=1)
    assert len(found.boxes_xyxy) == 1


def test_boxes_are_found_without_the_other_heads_which_stay() -> None:
    model = twin("mask_rcnn", reference("mask_rcnn"), max_people=200).eval()

    def never(*_: object) -> None:
        raise AssertionError("masks were computed")

    hook = model.heads.roi_heads.mask_head.register_forward_hook(never)
    assert sum(len(each.scores) for each in _found(model))
    hook.remove()
    with torch.inference_mode():
        (found,) = model(photos([(96, 128)]))
    assert isinstance(found, dict)
    assert found["masks"].shape[1:] == (1, 96, 128)


@pytest.mark.parametrize("kind", ["retinanet", "mask_rcnn"])
def test_other_classes_take_no_places(kind: str) -> None:
    many = twin(kind, reference(kind), max_people=1000).eval()
    everybody = _found(many)
    few = copy.deepcopy(many)
    set_inference(few, Look(), score_threshold=None, max_people=4)
    crowded_out = _found(few)
    assert min(len(each.scores) for each in crowded_out) < 4 <= len(everybody[0].scores)
    look_for_one_class(few, 1)
    _assert_best(_found(few), everybody, 4)


def _assert_best(found: Any, everybody: Any, count: int) -> None:
    for few, many in zip(found, everybody, strict=True):
        assert len(few.scores) == count
        np.testing.assert_allclose(few.scores, many.scores[:count], atol=1e-6)
        np.testing.assert_allclose(few.boxes_xyxy, many.boxes_xyxy[:count], atol=1e-3)


def test_a_detector_of_many_classes_is_asked_for_people_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    asked: list[tuple[Detector, int]] = []
    monkeypatch.setattr(
        "cpn.prediction.person_detector.look_for_one_class",
        lambda model, label: asked.append((model, label)),
    )
    for classes in (2, 3):
        path = tmp_path / f"{classes}.safetensors"
        config = changed(detector_config("retinanet_small"), num_classes=classes)
        network = DetectorNetworkConfig(backbone=SMALL, detector=config)
        save_detector(path, build_detector(SMALL, config), config=network, metrics={})
        detector = TrainedDetector.from_checkpoint(path, device="cpu")
    assert asked == [(detector.model, 1)]
