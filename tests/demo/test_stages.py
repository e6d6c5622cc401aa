"""Heatmaps stage by stage, from a network whose heatmaps are known."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from cpn.demo.stages import heatmap_stages, stage_names
from cpn.engine.precision import Precision
from cpn.models.cpn import CpnOutput
from cpn.prediction.estimator import PoseEstimator


def _maps(height: int, width: int, x: int, y: int, value: float) -> torch.Tensor:
    maps = torch.full((1, 1, height, width), -0.5)
    maps[0, 0, y, x] = value
    return maps


class _Network(SimpleNamespace):
    """Two levels and, perhaps, RefineNet; one keypoint; the crop is 16 x 8."""

    def __call__(self, _images: Any) -> CpnOutput:
        output: CpnOutput = self.output
        return output


def _estimator(family: str, refined: torch.Tensor | None) -> PoseEstimator:
    levels = (_maps(2, 1, 0, 1, 0.5), _maps(4, 2, 1, 0, 0.25))
    network = _Network(
        level_names=("p5", "p4"),
        refine_net=None if refined is None else object(),
        pixel_mean=torch.zeros(1),
        preprocess=lambda crops: crops,
        output=CpnOutput(levels, refined),
    )
    precision = Precision("fp32", torch.device("cpu"))
    return cast(PoseEstimator, SimpleNamespace(model=network, precision=precision, family=family))


def test_stages_come_coarse_to_fine_with_refine_net_last() -> None:
    estimator = _estimator("gaussian", _maps(4, 2, 0, 3, 1.0))
    stages = heatmap_stages(estimator, np.zeros((16, 8, 3), np.uint8))
    assert [stage.name for stage in stages] == ["P5", "P4", "RefineNet"]
    assert stage_names(estimator.model) == ["P5", "P4", "RefineNet"]
    assert [stage.maps.shape for stage in stages] == [(1, 2, 1), (1, 4, 2), (1, 4, 2)]
    # Cell (0, 1) of stride 8 has its centre at 3.5, 11.5; (1, 0) of stride 4 at 5.5, 1.5.
    points = np.concatenate([stage.points_crop for stage in stages])
    np.testing.assert_allclose(points, [[3.5, 11.5], [5.5, 1.5], [1.5, 13.5]])
    assert [stage.peaks[0] for stage in stages] == pytest.approx([0.5, 0.25, 1.0])


def test_each_map_goes_from_zero_to_its_peak() -> None:
    refined = torch.tensor([[[[-3.0, 0.0], [1.0, 4.0]]]])
    *_, last = heatmap_stages(_estimator("gaussian", refined), np.zeros((16, 8, 3), np.uint8))
    assert last.maps.tolist() == [[[0, 0], [64, 255]]]
    assert last.maps.dtype == np.uint8


def test_a_network_without_refine_net_has_its_levels_alone() -> None:
    stages = heatmap_stages(_estimator("gaussian", None), np.zeros((16, 8, 3), np.uint8))
    assert [stage.name for stage in stages] == ["P5", "P4"]


def test_peaks_are_shares_of_what_a_certain_network_gives() -> None:
    estimator = _estimator("blurred_one_hot", _maps(4, 2, 0, 0, 127.5))
    *_, last = heatmap_stages(estimator, np.zeros((16, 8, 3), np.uint8))
    assert last.peaks.tolist() == pytest.approx([0.5])


def test_empty_and_broken_maps_are_drawn_as_nothing() -> None:
    refined = torch.tensor([[[[-1.0, float("nan")], [-2.0, 0.0]]]])
    *_, last = heatmap_stages(_estimator("gaussian", refined), np.zeros((16, 8, 3), np.uint8))
    assert last.maps.max() == 0
    assert last.peaks.tolist() == [0.0]
