import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cpn.heatmaps import (
    decode_heatmaps,
    gaussian_heatmaps,
    merge_flipped,
    mirror_images,
    unflip_heatmaps,
)


def test_unflip_by_hand() -> None:
    heatmaps = torch.tensor([[[[1.0, 2.0, 3.0]], [[4.0, 5.0, 6.0]], [[7.0, 8.0, 9.0]]]])
    unflipped = unflip_heatmaps(heatmaps, (0, 2, 1))
    assert unflipped[0, :, 0].tolist() == [[3, 2, 1], [9, 8, 7], [6, 5, 4]]
    shifted = unflip_heatmaps(heatmaps, (0, 2, 1), shift=True)
    assert shifted[0, :, 0].tolist() == [[3, 3, 2], [9, 9, 8], [6, 6, 5]]


def test_merge_is_the_mean() -> None:
    heatmaps = torch.tensor([[[[1.0, 2.0]], [[4.0, 8.0]]]])
    flipped = torch.tensor([[[[0.0, 6.0]], [[2.0, 3.0]]]])
    merged = merge_flipped(heatmaps, flipped, (1, 0))
    assert merged[0, :, 0].tolist() == [[2.0, 2.0], [5.0, 4.0]]
    shifted = merge_flipped(heatmaps, flipped, (1, 0), shift=True)
    assert shifted[0, :, 0].tolist() == [[2.0, 2.5], [5.0, 7.0]]


def test_twice_gives_the_input_again() -> None:
    generator = torch.Generator().manual_seed(0)
    heatmaps = torch.rand(2, 5, 7, 6, generator=generator)
    permutation = (0, 2, 1, 4, 3)
    twice = unflip_heatmaps(unflip_heatmaps(heatmaps, permutation), permutation)
    torch.testing.assert_close(twice, heatmaps, rtol=0, atol=0)
    images = torch.rand(2, 3, 8, 6, generator=generator)
    torch.testing.assert_close(mirror_images(mirror_images(images)), images, rtol=0, atol=0)


@settings(derandomize=True, max_examples=50, deadline=None)
@given(st.integers(0, 2**31))
def test_targets_of_mirrored_points_unflip_onto_those_of_the_points(seed: int) -> None:
    points = torch.rand(3, 5, 2, generator=torch.Generator().manual_seed(seed))
    points = points * torch.tensor([48.0, 64.0]) - 0.5
    permutation = [0, 2, 1, 4, 3]
    mirrored = points[:, permutation].clone()
    mirrored[..., 0] = 48 - 1 - mirrored[..., 0]
    drawn = torch.ones(3, 5, dtype=torch.bool)
    ours, flipped = (
        gaussian_heatmaps(given_points, drawn, size_hw=(16, 12), stride=4.0, sigma=1.5)
        for given_points in (points, mirrored)
    )
    torch.testing.assert_close(unflip_heatmaps(flipped, permutation), ours, rtol=0, atol=1e-5)
    merged = decode_heatmaps(merge_flipped(ours, flipped, permutation), method="dark")
    torch.testing.assert_close(merged.points, (points + 0.5) / 4 - 0.5, rtol=0, atol=0.02)


@pytest.mark.parametrize("permutation", [(0, 1), (0, 1, 1), (1, 2, 3)])
def test_refuses_what_is_not_a_permutation(permutation: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"flip_permutation must hold each of 0\.\.2 once, not \["):
        unflip_heatmaps(torch.zeros(1, 3, 4, 4), permutation)
