import numpy as np
import pytest
import torch

from cpn.heatmaps.blur import blur_heatmaps, blur_rows, gaussian_kernel


def test_small_kernels_are_the_integer_tables() -> None:
    np.testing.assert_array_equal(gaussian_kernel(7) * 256, [8, 28, 56, 72, 56, 28, 8])
    np.testing.assert_array_equal(gaussian_kernel(9) * 256, [4, 13, 30, 51, 60, 51, 30, 13, 4])


def test_kernel_follows_the_sigma_formula() -> None:
    kernel = gaussian_kernel(11)  # sigma = 0.3 * (5 - 1) + 0.8 = 2
    assert kernel.sum() == pytest.approx(1.0)
    assert kernel[5] / kernel[3] == pytest.approx(np.exp(4 / 8))


@pytest.mark.parametrize("size", [0, 4, -3])
def test_kernel_refuses_even_sizes(size: int) -> None:
    with pytest.raises(ValueError, match=f"positive odd size, not {size}"):
        gaussian_kernel(size)


def test_borders() -> None:
    low, high = gaussian_kernel(3)[0], gaussian_kernel(3)[1]
    zero = [[high, low, 0], [low, high, low], [0, low, high]]
    reflect = [[high, 2 * low, 0], [low, high, low], [0, 2 * low, high]]
    np.testing.assert_allclose(blur_rows(3, 3, "zero"), zero)
    np.testing.assert_allclose(blur_rows(3, 3, "reflect"), reflect)


def test_reflection_repeats_on_maps_smaller_than_the_kernel() -> None:
    rows = blur_rows(3, 15, "reflect")
    np.testing.assert_allclose(rows.sum(axis=1), 1.0)
    padded = np.pad([1.0, 0.0, 0.0], 7, mode="reflect")
    np.testing.assert_allclose(rows[:, 0], np.convolve(padded, gaussian_kernel(15), mode="valid"))
    np.testing.assert_allclose(blur_rows(1, 7, "reflect"), [[1.0]])


def test_blur_heatmaps_is_separable_with_zeros_outside() -> None:
    heatmaps = torch.zeros(1, 1, 5, 4)
    heatmaps[0, 0, 0, 3] = 1.0
    kernel = gaussian_kernel(3)
    expected = np.zeros((5, 4))
    expected[:2, 2:] = np.outer(kernel[1:], kernel[:2])
    np.testing.assert_allclose(blur_heatmaps(heatmaps, 3)[0, 0], expected, rtol=1e-6)
    assert blur_heatmaps(heatmaps, 0) is heatmaps


def test_a_matrix_cached_in_inference_mode_serves_training() -> None:
    with torch.inference_mode():
        blur_heatmaps(torch.ones(1, 1, 6, 13), 5)
    heatmaps = torch.ones(1, 1, 6, 13, requires_grad=True)
    blur_heatmaps(heatmaps, 5).sum().backward()  # type: ignore[no-untyped-call]
    assert heatmaps.grad is not None
