import numpy as np
import pytest
import torch

from cpn.heatmaps.blur import gaussian_kernel
from cpn.heatmaps.dark import dark_offsets


def parabola_in_log(x: float, y: float, size: int = 9) -> torch.Tensor:
    """(1, 1, size, size) map whose log is an exact, tilted parabola with its maximum at (x, y)."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    dx, dy = columns - x, rows - y
    return torch.exp(-(dx**2 + 0.5 * dy**2 + 0.4 * dx * dy) / 8)[None, None]


@pytest.mark.parametrize("x", [-0.4, 0.3, 1.2, 4.4, 7.1, 8.4])
@pytest.mark.parametrize("y", [-0.2, 0.6, 1.9, 3.7, 6.8, 8.3])
def test_newton_step_is_exact_on_a_tilted_gaussian_anywhere(x: float, y: float) -> None:
    cells = torch.tensor([[[round(max(x, 0)), round(max(y, 0))]]])
    offsets = dark_offsets(parabola_in_log(x, y), cells, 0)
    np.testing.assert_allclose((cells + offsets)[0, 0], [x, y], atol=2e-3)


def test_offsets_equal_the_papers_formula_on_a_noisy_map() -> None:
    """Blurs the whole map and takes DARK's differences one by one, in numpy."""
    generator = np.random.default_rng(3)
    rows, columns = np.mgrid[:40, :30]
    heatmap = np.exp(-((columns - 14.3) ** 2 + (rows - 20.8) ** 2) / 8)
    heatmap += 0.02 * generator.random(heatmap.shape)
    kernel = gaussian_kernel(11)
    blurred = np.apply_along_axis(np.convolve, 0, heatmap, kernel, mode="same")
    blurred = np.apply_along_axis(np.convolve, 1, blurred, kernel, mode="same")
    f, x, y = np.log(blurred), 14, 21
    gradient = [(f[y, x + 1] - f[y, x - 1]) / 2, (f[y + 1, x] - f[y - 1, x]) / 2]
    mixed = (f[y + 1, x + 1] - f[y - 1, x + 1] - f[y + 1, x - 1] + f[y - 1, x - 1]) / 4
    curve_x = (f[y, x + 2] - 2 * f[y, x] + f[y, x - 2]) / 4
    curve_y = (f[y + 2, x] - 2 * f[y, x] + f[y - 2, x]) / 4
    expected = -np.linalg.inv([[curve_x, mixed], [mixed, curve_y]]) @ gradient
    maps = torch.from_numpy(heatmap.astype(np.float32))[None, None]
    offsets = dark_offsets(maps, torch.tensor([[[x, y]]]), 11)
    np.testing.assert_allclose(offsets[0, 0], expected, atol=1e-4)


def test_flat_and_upward_maps_do_not_move() -> None:
    rows, columns = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
    saddle = torch.exp(((columns - 4) ** 2 - (rows - 4) ** 2 + (columns - 4) + (rows - 4)) / 8)
    bowl = torch.exp(((columns - 4) ** 2 + (rows - 4) ** 2 + columns) / 8)
    ridge_saddle = torch.exp(
        (3 * (columns - 4) * (rows - 4) - (columns - 4) ** 2 - (rows - 4) ** 2 + columns) / 16
    )  # falls along both axes but rises along a diagonal
    flat = [torch.zeros(9, 9), torch.full((9, 9), 0.7)]
    maps = torch.stack([*flat, saddle, bowl, ridge_saddle])[None]
    cells = torch.full((1, 5, 2), 4)
    assert dark_offsets(maps, cells, 0).abs().max() == 0.0


def test_offsets_are_at_most_one_cell() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(50, 4, 11, 7, generator=generator)
    cells = torch.randint(0, 7, (50, 4, 2), generator=generator)
    for blur_kernel in (0, 3, 11, 21):
        assert dark_offsets(maps, cells, blur_kernel).abs().max() <= 1.0


def test_cells_at_or_below_zero_do_not_undo_the_refinement() -> None:
    maps = parabola_in_log(4.3, 3.8)
    cells = torch.tensor([[[4, 4]]])
    expected = dark_offsets(maps, cells, 0)
    maps[..., 2, 2], maps[..., 6, 6] = -0.01, 0.0  # corners of the stencil, in no derivative
    torch.testing.assert_close(dark_offsets(maps, cells, 0), expected, rtol=0, atol=1e-5)
