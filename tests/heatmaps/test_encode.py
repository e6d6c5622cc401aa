from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cpn.heatmaps import HeatmapEncoder, blurred_one_hot_heatmaps, gaussian_heatmaps

GOLDEN = Path(__file__).parents[1] / "golden" / "heatmaps"
KERNELS = {(64, 48): (15, 11, 9, 7), (96, 72): (23, 17, 13, 9)}


def one_point(x: float, y: float) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([[[x, y]]]), torch.ones(1, 1, dtype=torch.bool)


def test_gaussian_by_hand() -> None:
    # Crop (5.5, 1.5) is heatmap (1, 0) at stride 4.
    points, drawn = one_point(5.5, 1.5)
    heatmaps = gaussian_heatmaps(points, drawn, size_hw=(2, 3), stride=4.0, sigma=1.0)
    near, diagonal = np.exp(-0.5), np.exp(-1.0)
    np.testing.assert_allclose(
        heatmaps[0, 0], [[near, 1, near], [diagonal, near, diagonal]], rtol=1e-6
    )


def test_gaussian_center_is_not_rounded() -> None:
    points, drawn = one_point(3.5, 1.5)  # heatmap (0.5, 0)
    heatmaps = gaussian_heatmaps(points, drawn, size_hw=(1, 2), stride=4.0, sigma=2.0)
    np.testing.assert_allclose(heatmaps[0, 0], [[np.exp(-0.25 / 8)] * 2], rtol=1e-6)


@pytest.mark.parametrize("stride", [(2.0, 4.0), (2, 4)])
def test_stride_may_differ_per_axis(stride: tuple[float, float]) -> None:
    points, drawn = one_point(9.5, 6.5)  # heatmap x = 10 / 4 - 0.5, y = 7 / 2 - 0.5
    heatmaps = gaussian_heatmaps(points, drawn, size_hw=(6, 6), stride=stride, sigma=0.5)
    assert int(heatmaps[0, 0].argmax()) == 3 * 6 + 2
    assert heatmaps[0, 0, 3, 2] == 1.0


@settings(derandomize=True, max_examples=50, deadline=None)
@given(st.sampled_from([3.0, 4.0, 5.3]), st.integers(0, 20), st.integers(0, 20))
def test_one_hot_peak_lies_in_the_points_cell(stride: float, column: int, row: int) -> None:
    center = [(column + 0.5) * stride - 0.5, (row + 0.5) * stride - 0.5]
    points = torch.tensor([[center]]) + torch.tensor([-0.45, 0.0, 0.45])[:, None, None] * stride
    drawn = torch.ones(3, 1, dtype=torch.bool)
    heatmaps = blurred_one_hot_heatmaps(
        points, drawn, size_hw=(21, 21), stride=stride, kernel_size=7
    )
    assert heatmaps.flatten(1).argmax(-1).tolist() == [row * 21 + column] * 3
    assert heatmaps.amax((-2, -1)).flatten().tolist() == [255.0] * 3


def encode_both(points: torch.Tensor, drawn: torch.Tensor) -> list[torch.Tensor]:
    size: Any = {"size_hw": (8, 6), "stride": 4.0}
    return [
        gaussian_heatmaps(points, drawn, sigma=1.0, **size),
        blurred_one_hot_heatmaps(points, drawn, kernel_size=7, **size),
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e6, 0.0])
def test_undrawn_joints_are_zero_whatever_their_coordinates(value: float) -> None:
    points = torch.tensor([[[value, 3.0], [9.5, 9.5]]])
    for heatmaps in encode_both(points, torch.tensor([[False, True]])):
        assert heatmaps.shape == (1, 2, 8, 6)
        assert heatmaps.dtype == torch.float32
        assert not heatmaps[0, 0].any()
        assert heatmaps[0, 1].any()


def test_points_outside_do_not_wrap_around() -> None:
    points = torch.tensor([[[-0.75, 10.0], [24.0, 10.0], [10.0, -3.0], [10.0, 32.0]]])
    gaussians, one_hot = encode_both(points, torch.ones(1, 4, dtype=torch.bool))
    assert not one_hot.any()
    assert gaussians[0, 0, :, 3:].max() < 0.02  # only the tail, on the side of the point
    assert gaussians[0, 1, :, :3].max() < 0.02


def test_no_instances() -> None:
    for heatmaps in encode_both(torch.zeros(0, 17, 2), torch.zeros(0, 17, dtype=torch.bool)):
        assert heatmaps.shape == (0, 17, 8, 6)


def test_zero_border_keeps_a_peak_beside_the_edge_in_its_cell() -> None:
    points, drawn = one_point(5.5, 13.5)  # column 1
    size: Any = {"size_hw": (8, 6), "stride": 4.0, "kernel_size": 7}
    assert blurred_one_hot_heatmaps(points, drawn, **size)[0, 0, 3].argmax() == 1
    reflected = blurred_one_hot_heatmaps(points, drawn, border="reflect", **size)
    assert reflected[0, 0, 3].argmax() == 0


@pytest.mark.parametrize(
    "case", ["random_256x192", "edges_256x192", "negative_wrap_256x192", "random_384x288"]
)
def test_golden_targets_of_pytorch_cpn(case: str) -> None:
    golden = np.load(GOLDEN / "targets.npz")
    keypoints, heatmaps = golden[f"{case}/keypoints"], golden[f"{case}/heatmaps"]
    size_hw = heatmaps.shape[-2:]
    input_wh = np.array(size_hw[::-1]) * 4
    # The original floors x / 4 as if x were an edge coordinate, and wraps a negative cell around.
    wrapped = np.where(keypoints[:, :2] < 0, keypoints[:, :2] + input_wh, keypoints[:, :2])
    points = torch.from_numpy(wrapped - 0.5)[None]
    drawn = torch.from_numpy(golden[f"{case}/valid"] > 0)[None]
    encoder = HeatmapEncoder(
        "blurred_one_hot",
        dict(zip(("p5", "p4", "p3", "p2"), KERNELS[size_hw], strict=True)),
        border="reflect",
    )
    for index, level in enumerate(encoder.widths):
        ours = encoder.target(points, drawn, level=level, size_hw=size_hw, stride=4.0)
        np.testing.assert_allclose(ours[0], heatmaps[index], atol=1e-3)


def test_encoder_uses_the_levels_width() -> None:
    points, drawn = one_point(9.5, 9.5)
    encoder = HeatmapEncoder("gaussian", {"p5": 3.0, "refined": 1.0})
    assert encoder.peak == 1.0
    for level, sigma in encoder.widths.items():
        ours = encoder.target(points, drawn, level=level, size_hw=(8, 6), stride=4.0)
        by_hand = gaussian_heatmaps(points, drawn, size_hw=(8, 6), stride=4.0, sigma=sigma)
        torch.testing.assert_close(ours, by_hand, rtol=0, atol=0)
    assert HeatmapEncoder("blurred_one_hot", {"p2": 7}).peak == 255.0
    with pytest.raises(ValueError, match=r"no heatmap width for level 'p4'; given: \['p5', 'ref"):
        encoder.target(points, drawn, level="p4", size_hw=(8, 6), stride=4.0)


@pytest.mark.parametrize(
    ("family", "widths", "border", "message"),
    [
        ("gauss", {"p2": 1.0}, "zero", "unknown heatmap family 'gauss'; allowed: gaussian, blurr"),
        ("gaussian", {"p2": 1.0}, "wrap", "unknown heatmap border 'wrap'; allowed: zero, reflect"),
        ("gaussian", {}, "zero", "has no level"),
        ("gaussian", {"p2": 0.0}, "zero", r"\(sigma\) of level 'p2' must be > 0 cells, not 0.0"),
        ("gaussian", {"p3": float("nan")}, "zero", r"of level 'p3' must be > 0 cells, not nan"),
        ("blurred_one_hot", {"p2": 8}, "zero", "of level 'p2' must be an odd number, not 8"),
        ("blurred_one_hot", {"p2": 7.5}, "zero", "must be an odd number, not 7.5"),
        ("blurred_one_hot", {"p2": -7}, "zero", "must be an odd number, not -7"),
    ],
)
def test_encoder_refuses(
    family: Any, widths: Mapping[str, float], border: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        HeatmapEncoder(family, widths, border)
