from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cpn.heatmaps import (
    DecodeMethod,
    blurred_one_hot_heatmaps,
    decode_heatmaps,
    gaussian_heatmaps,
    keypoint_confidence,
    merge_flipped,
    rescoring_scores,
)
from cpn.heatmaps.decode import decode_flip_test
from cpn.skeleton import COCO_17

GOLDEN = Path(__file__).parents[1] / "golden" / "heatmaps"
METHODS = get_args(DecodeMethod)


def heatmaps_from(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor([[rows]])


def test_argmax_by_hand() -> None:
    decoded = decode_heatmaps(heatmaps_from([[0, 1, 2], [0, 7, 0]]), method="argmax")
    assert decoded.points.tolist() == [[[1.0, 1.0]]]
    assert decoded.scores.tolist() == [[7.0]]


def test_quarter_moves_towards_the_second_highest_cell() -> None:
    straight = decode_heatmaps(heatmaps_from([[0, 1, 2], [6, 7, 0]]), method="quarter")
    assert straight.points.tolist() == [[[0.75, 1.0]]]
    diagonal = decode_heatmaps(heatmaps_from([[0, 1, 6], [2, 7, 0]]), method="quarter")
    step = 0.25 / np.sqrt(2)
    np.testing.assert_allclose(diagonal.points[0, 0], [1 + step, 1 - step], rtol=1e-6)
    far = decode_heatmaps(heatmaps_from([[6, 0, 0, 0, 7], [0, 0, 0, 0, 0]]), method="quarter")
    assert far.points.tolist() == [[[3.75, 0.0]]]


def test_score_is_the_unblurred_value_at_the_rounded_point() -> None:
    # The blur moves the peak from the lone 9 to the middle of the plateau; its raw value is 5.
    heatmaps = torch.zeros(1, 1, 12, 12)
    heatmaps[0, 0, 6:9, 6:9] = 5.0
    heatmaps[0, 0, 1, 1] = 9.0
    decoded = decode_heatmaps(heatmaps, method="argmax", blur_kernel=3)
    assert decoded.points.tolist() == [[[7.0, 7.0]]]
    assert decoded.scores.tolist() == [[5.0]]


def test_dark_score_belongs_to_the_refined_cell() -> None:
    points = torch.tensor([[[17.3, 9.8]]])
    drawn = torch.ones(1, 1, dtype=torch.bool)
    heatmaps = gaussian_heatmaps(points, drawn, size_hw=(16, 16), stride=2.0, sigma=1.5)
    decoded = decode_heatmaps(heatmaps, method="dark", blur_kernel=7)
    column, row = decoded.points.round().long()[0, 0].tolist()
    assert decoded.scores.item() == heatmaps[0, 0, row, column].item()


def test_golden_keypoints_and_scores_of_pytorch_cpn() -> None:
    golden = np.load(GOLDEN / "decode.npz")
    merged = merge_flipped(
        torch.from_numpy(golden["out"]),
        torch.from_numpy(golden["flip_out"]),
        COCO_17.flip_permutation,
    )
    decoded = decode_heatmaps(merged, method="quarter", blur_kernel=21)
    corner, opposite = golden["details"][:, None, :2], golden["details"][:, None, 2:]
    crop_edge_points = 4 * decoded.points.numpy().astype(np.float64) + 2
    keypoints = crop_edge_points / [192, 256] * (opposite - corner) + corner
    np.testing.assert_allclose(keypoints, golden["keypoints"][..., :2], atol=1e-3)
    scores = rescoring_scores(decoded.scores, "blurred_one_hot").numpy()
    np.testing.assert_allclose(
        golden["det_scores"] * scores.mean(axis=1), golden["score"], rtol=1e-6
    )


SIZES = st.integers(16, 64)
SEEDS = st.integers(0, 2**31)


def points_on_map(seed: int, size_hw: tuple[int, int], stride: float) -> torch.Tensor:
    """(64, 1, 2) crop points anywhere on the map, its outer half cells included."""
    fractions = torch.rand(64, 1, 2, generator=torch.Generator().manual_seed(seed))
    fractions[:4] = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.5], [0.001, 0.999]])[:, None]
    return fractions * torch.tensor(size_hw[::-1]) * stride * 0.99999 - 0.5


@settings(derandomize=True, max_examples=50, deadline=None)
@given(SEEDS, SIZES, SIZES, st.sampled_from([2.0, 4.0, 5.3]), st.floats(0.8, 3.5))
def test_plain_round_trip_within_half_a_cell(
    seed: int, height: int, width: int, stride: float, sigma: float
) -> None:
    points = points_on_map(seed, (height, width), stride)
    expected = (points + 0.5) / stride - 0.5
    drawn = torch.ones(points.shape[:2], dtype=torch.bool)
    for heatmaps in (
        gaussian_heatmaps(points, drawn, size_hw=(height, width), stride=stride, sigma=sigma),
        blurred_one_hot_heatmaps(
            points, drawn, size_hw=(height, width), stride=stride, kernel_size=15
        ),
    ):
        decoded = decode_heatmaps(heatmaps, method="argmax").points
        assert (decoded - expected).abs().max() <= 0.5 + 1e-3  # float32 ties between cells


@settings(derandomize=True, max_examples=50, deadline=None)
@given(SEEDS, SIZES, SIZES, st.floats(0.8, 3.5), st.sampled_from([0, 7, 11, 17]))
def test_dark_round_trip_on_clean_gaussians(
    seed: int, height: int, width: int, sigma: float, blur_kernel: int
) -> None:
    points = points_on_map(seed, (height, width), 4.0)
    drawn = torch.ones(points.shape[:2], dtype=torch.bool)
    heatmaps = gaussian_heatmaps(points, drawn, size_hw=(height, width), stride=4.0, sigma=sigma)
    decoded = decode_heatmaps(heatmaps, method="dark", blur_kernel=blur_kernel).points
    assert (decoded - ((points + 0.5) / 4 - 0.5)).abs().max() <= 0.05


def test_dark_stays_within_the_maps_outer_half_cell() -> None:
    outside = torch.tensor([[[-5.5, 20.0], [52.0, 20.0], [20.0, -7.0], [20.0, 70.0]]])
    drawn = torch.ones(1, 4, dtype=torch.bool)
    heatmaps = gaussian_heatmaps(outside, drawn, size_hw=(16, 12), stride=4.0, sigma=2.0)
    decoded = decode_heatmaps(heatmaps, method="dark").points[0]
    assert decoded[:2, 0].tolist() == [-0.5, 11.5]
    assert decoded[2:, 1].tolist() == [-0.5, 15.5]


def test_darks_blur_helps_against_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(200, 1, 2, generator=generator) * 60 + 34
    drawn = torch.ones(200, 1, dtype=torch.bool)
    heatmaps = gaussian_heatmaps(points, drawn, size_hw=(32, 32), stride=4.0, sigma=2.0)
    heatmaps += 0.05 * torch.randn(heatmaps.shape, generator=generator)
    plain, blurred = (
        (decode_heatmaps(heatmaps, method="dark", blur_kernel=kernel).points - (points - 1.5) / 4)
        .abs()
        .mean()
        for kernel in (0, 11)
    )
    assert blurred < 0.6 * plain


def test_dark_does_not_depend_on_the_maps_scale() -> None:
    points = torch.tensor([[[41.2, 52.9], [3.0, 120.0]]])
    drawn = torch.ones(1, 2, dtype=torch.bool)
    heatmaps = gaussian_heatmaps(points, drawn, size_hw=(32, 24), stride=4.0, sigma=2.0)
    decoded = decode_heatmaps(heatmaps, method="dark", blur_kernel=11).points
    scaled = decode_heatmaps(255 * heatmaps, method="dark", blur_kernel=11).points
    torch.testing.assert_close(decoded, scaled, rtol=0, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("blur_kernel", [0, 11])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_every_finite_map_gives_a_finite_point_on_the_map(
    method: DecodeMethod, blur_kernel: int, scale: float
) -> None:
    noise = torch.randn(20, 5, 12, 9, generator=torch.Generator().manual_seed(0))
    noise[:, 1] = 0.0
    noise[:, 2] = -noise[:, 2].abs() - 1
    noise[:, 3] = -3.0
    noise[:, 4] = 3.0
    decoded = decode_heatmaps(scale * noise, method=method, blur_kernel=blur_kernel)
    assert decoded.points.isfinite().all()
    assert decoded.scores.isfinite().all()
    assert decoded.points.min() >= -0.5
    assert (decoded.points <= torch.tensor([8.5, 11.5])).all()


@pytest.mark.parametrize("method", METHODS)
def test_an_all_negative_map_decodes_to_its_highest_cell(method: DecodeMethod) -> None:
    heatmaps = torch.full((1, 1, 9, 9), -5.0)
    heatmaps[0, 0, 6, 2] = -1.0
    point = decode_heatmaps(heatmaps, method=method).points[0, 0]
    assert (point - torch.tensor([2.0, 6.0])).abs().max() <= 0.25


@pytest.mark.parametrize("method", METHODS)
def test_layout_dtype_and_gradient_do_not_matter(method: DecodeMethod) -> None:
    heatmaps = torch.rand(2, 3, 16, 12, generator=torch.Generator().manual_seed(1))
    heatmaps = heatmaps.bfloat16().float()
    expected = decode_heatmaps(heatmaps, method=method, blur_kernel=5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for variant in (
            heatmaps.to(memory_format=torch.channels_last),
            heatmaps.bfloat16(),
            heatmaps.clone().requires_grad_(),
        ):
            decoded = decode_heatmaps(variant, method=method, blur_kernel=5)
            torch.testing.assert_close(decoded.points, expected.points, rtol=0, atol=1e-5)
            torch.testing.assert_close(decoded.scores, expected.scores, rtol=0, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_no_instances(method: DecodeMethod) -> None:
    decoded = decode_heatmaps(torch.zeros(0, 17, 16, 12), method=method, blur_kernel=5)
    assert decoded.points.shape == (0, 17, 2)
    assert decoded.scores.shape == (0, 17)


@pytest.mark.parametrize(
    ("method", "blur_kernel", "size", "message"),
    [
        ("soft", 0, 8, "unknown decode method 'soft'; allowed: argmax, quarter, dark"),
        ("argmax", 10, 8, r"blur_kernel must be 0 \(no blur\) or odd, not 10"),
        ("argmax", -1, 8, "or odd, not -1"),
        ("dark", 0, 4, r"decoding by 'dark' needs heatmaps of at least 5x5 cells, not \(4, 4\)"),
        ("quarter", 0, 1, "at least 2x2 cells"),
    ],
)
def test_decode_refuses(method: DecodeMethod, blur_kernel: int, size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_heatmaps(torch.zeros(1, 1, size, size), method=method, blur_kernel=blur_kernel)


def test_confidence_is_a_share_of_the_peak() -> None:
    scores = torch.tensor([-51.0, 0.0, 0.5, 255.0, 300.0])
    blurred = keypoint_confidence(scores, "blurred_one_hot")
    np.testing.assert_allclose(blurred, [0.0, 0.0, 0.5 / 255, 1.0, 1.0], rtol=1e-6)
    assert keypoint_confidence(scores, "gaussian").tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_rescoring_scores_by_family() -> None:
    scores = torch.tensor([-51.0, 0.0, 0.5, 255.0])
    blurred = rescoring_scores(scores, "blurred_one_hot")
    np.testing.assert_allclose(blurred, [0.3, 0.5, 0.5 + 0.5 / 255, 1.5], rtol=1e-6)
    assert rescoring_scores(scores, "gaussian").tolist() == [0.0, 0.0, 0.5, 1.0]


@pytest.mark.parametrize("num_persons", [0, 1, 16, 35])
@pytest.mark.parametrize("shift", [False, True])
def test_the_flip_test_decodes_the_merged_maps(num_persons: int, shift: bool) -> None:
    """In parts of 16 persons, without a trace of it."""
    generator = torch.Generator().manual_seed(0)
    plain, flipped = torch.rand(2, num_persons, 3, 12, 8, generator=generator).unbind()
    before = plain.clone(), flipped.clone()
    order = (1, 0, 2)
    merged = merge_flipped(plain, flipped, order, shift=shift)
    wanted = decode_heatmaps(merged, method="dark", blur_kernel=5)
    given = decode_flip_test(plain, flipped, order, shift=shift, method="dark", blur_kernel=5)
    torch.testing.assert_close(tuple(given), tuple(wanted), rtol=0, atol=0)
    torch.testing.assert_close((plain, flipped), before, rtol=0, atol=0)
