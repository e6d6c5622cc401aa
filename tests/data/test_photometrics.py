import numpy as np
import pytest
import torch
from torch import Tensor

from cpn.data.photometrics import (
    MAX_HOLES,
    NO_HOLES,
    SAME_COLOUR,
    apply_photometrics,
    colour_matrix,
    hole_mask,
    mix_channels,
)

SIZE_HW = (6, 5)


def _crops(count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, *SIZE_HW, 3), dtype=torch.uint8, generator=generator)
    return pixels.permute(0, 3, 1, 2)


def _colours(count: int = 3) -> Tensor:
    rng = np.random.default_rng(0)
    matrices = [colour_matrix(*rng.uniform(0.6, 1.4, 3).tolist()) for _ in range(count)]
    return torch.from_numpy(np.stack(matrices))


def _holes(*rectangles: tuple[int, int, int, int]) -> Tensor:
    holes = NO_HOLES.copy()
    holes[: len(rectangles)] = rectangles
    return torch.from_numpy(holes)[None]


def test_colour_matrix_by_hand() -> None:
    def mixed(rgb: list[float], *factors: float) -> list[float]:
        return [float(value) for value in colour_matrix(*factors) @ [*rgb, 1.0]]

    assert mixed([10, 20, 30], 1, 1, 1) == pytest.approx([10, 20, 30])
    assert mixed([10, 20, 30], 2, 1, 1) == pytest.approx([20, 40, 60])
    assert mixed([10, 20, 30], 1, 0, 1) == pytest.approx([127.5] * 3)
    assert mixed([10, 20, 30], 1, 1, 0) == pytest.approx([0.299 * 10 + 0.587 * 20 + 0.114 * 30] * 3)
    np.testing.assert_array_equal(colour_matrix(1, 1, 1), SAME_COLOUR)


def test_a_device_mixes_as_the_formula_says() -> None:
    """Products, sum, rounding, and the limits of a byte."""
    crops, colours = _crops(), _colours()
    pixels = crops.permute(0, 2, 3, 1)
    rgb1 = np.concatenate([pixels.numpy(), np.ones((3, *SIZE_HW, 1))], axis=-1)
    wanted = np.einsum("nij,nhwj->nhwi", colours.numpy(), rgb1).clip(0, 255)
    np.testing.assert_array_equal(mix_channels(pixels, colours).numpy(), np.rint(wanted))
    assert ((wanted == 0) | (wanted == 255)).any()


def test_the_cpu_differs_by_rounding_alone() -> None:
    crops, colours = _crops(), _colours()
    given = apply_photometrics(crops, colours, torch.from_numpy(NO_HOLES).expand(3, -1, 4))
    wanted = mix_channels(crops.permute(0, 2, 3, 1), colours).permute(0, 3, 1, 2)
    assert (given.int() - wanted.int()).abs().max() <= 1
    assert given.is_contiguous(memory_format=torch.channels_last)


def test_holes_become_black_and_nothing_else() -> None:
    crops = _crops(1) | 1  # no black before
    same = torch.from_numpy(SAME_COLOUR)[None]
    holes = _holes((1, 2, 3, 4), (4, 0, 5, 6))
    wanted = torch.zeros(SIZE_HW, dtype=torch.bool)
    wanted[2:4, 1:3] = True
    wanted[:, 4] = True
    black = (apply_photometrics(crops, same, holes) == 0).all(dim=1)[0]
    assert torch.equal(black, wanted)
    assert torch.equal(hole_mask(holes, SIZE_HW)[0], wanted)


def test_nothing_drawn_changes_nothing() -> None:
    crops = _crops(2)
    before = crops.clone()
    same = torch.from_numpy(np.stack([SAME_COLOUR] * 2))
    given = apply_photometrics(crops, same, torch.from_numpy(np.stack([NO_HOLES] * 2)))
    assert torch.equal(given, before)
    given.zero_()
    assert torch.equal(crops, before)  # the loader's memory is not ours to change


def test_there_is_room_for_four_holes() -> None:
    assert NO_HOLES.shape == (MAX_HOLES, 4) == (4, 4)
    assert not hole_mask(torch.from_numpy(NO_HOLES)[None], SIZE_HW).any()
