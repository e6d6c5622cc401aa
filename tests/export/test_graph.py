from typing import Any

import numpy as np
import pytest
import torch

from cpn.export.graph import PoseGraph
from cpn.export.runtime_estimator import RuntimeEstimator, boxes_of
from cpn.export.runtimes import TorchRuntime
from cpn.geometry.boxes import xyxy_to_xywh
from cpn.geometry.crop import crop_matrix, grow_box
from tests.export.cases import INPUT_HW, MARGIN, estimator, people

DECODES: list[dict[str, Any]] = [
    {"method": "dark", "blur_kernel": 11},
    {"method": "quarter", "blur_kernel": 0},
    {"method": "argmax", "blur_kernel": 21},
    {"method": "dark", "flip_test": True},
    {"method": "quarter", "flip_test": True, "flip_shift": True, "blur_kernel": 5},
    {"family": "blurred_one_hot"},
]


def matrices(boxes: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, Any]:
    height, width = INPUT_HW
    grown = [grow_box(xyxy_to_xywh(box), aspect=width / height, margin=MARGIN) for box in boxes]
    return np.stack([crop_matrix(center, size, INPUT_HW) for center, size in grown])


@pytest.mark.parametrize("decode", DECODES, ids=str)
def test_the_graph_gives_the_estimators_poses(decode: dict[str, Any]) -> None:
    crops, boxes = people(5)
    expected = estimator(**decode)(
        torch.from_numpy(crops).permute(0, 3, 1, 2), torch.from_numpy(matrices(boxes))
    )
    found = TorchRuntime(PoseGraph(estimator(**decode), INPUT_HW, MARGIN))(crops, boxes)
    np.testing.assert_allclose(found.keypoints, expected.points_image, atol=2e-3)
    np.testing.assert_allclose(found.scores, expected.confidences, atol=1e-6)
    np.testing.assert_allclose(found.rescoring_scores, expected.rescoring_scores, atol=1e-6)
    assert len(np.unique(found.keypoints.round())) > 10


def test_boxes_come_back_from_their_matrices() -> None:
    _, boxes = people(6)
    back = boxes_of(matrices(boxes), INPUT_HW, MARGIN)
    np.testing.assert_allclose(matrices(back), matrices(boxes), rtol=1e-4, atol=1e-3)


def test_a_runtime_stands_in_for_the_estimator() -> None:
    crops, boxes = people(4)
    plain = estimator()
    graph = TorchRuntime(PoseGraph(plain, INPUT_HW, MARGIN))
    stand_in = RuntimeEstimator(
        *(plain.model, plain.skeleton, plain.decode, plain.family, plain.precision),
        runtime=graph,
        margin=MARGIN,
    )
    given = (torch.from_numpy(crops).permute(0, 3, 1, 2), torch.from_numpy(matrices(boxes)))
    np.testing.assert_allclose(stand_in(*given).points_image, plain(*given).points_image, atol=1e-2)


def test_half_precision_is_of_the_network_alone() -> None:
    crops, boxes = people(3)
    whole = TorchRuntime(PoseGraph(estimator(), INPUT_HW, MARGIN))(crops, boxes)
    given = estimator()
    half = PoseGraph(given, INPUT_HW, MARGIN, half=True)
    assert {each.dtype for each in given.model.parameters()} == {torch.float32}
    assert {each.dtype for each in half.network.parameters()} == {torch.float16}
    found = TorchRuntime(half)(crops, boxes)
    assert found.keypoints.dtype == np.float32
    np.testing.assert_allclose(found.keypoints, whole.keypoints, atol=1)
    assert (found.keypoints != whole.keypoints).any()
