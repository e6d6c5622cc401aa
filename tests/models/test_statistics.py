from collections.abc import Callable

import pytest
import torch

from cpn.models.cpn import CascadedPyramidNetwork
from cpn.models.statistics import model_statistics

Build = Callable[..., CascadedPyramidNetwork]


@pytest.mark.parametrize(
    ("backbone", "parameters", "gflops"),
    [
        ("resnet50", 27_406_826, {(256, 192): 7.316, (384, 288): 16.460}),
        ("resnet101", 46_398_954, {(256, 192): 10.952, (384, 288): 24.642}),
    ],
)
def test_published_sizes_and_costs(
    backbone: str, parameters: int, gflops: dict[tuple[int, int], float], meta_cpn: Build
) -> None:
    model = meta_cpn(backbone)
    for input_hw, expected in gflops.items():
        statistics = model_statistics(model, input_hw)
        assert statistics.parameters == parameters
        assert statistics.gflops == pytest.approx(expected, abs=5e-4)


def test_parts_add_up(meta_cpn: Build) -> None:
    statistics = model_statistics(meta_cpn("resnet50"), (256, 192))
    parts = statistics.parts
    assert list(parts) == ["backbone", "pyramid", "global_net", "refine_net"]
    assert sum(part.parameters for part in parts.values()) == statistics.parameters
    assert sum(part.gflops for part in parts.values()) == pytest.approx(statistics.gflops)
    assert parts["backbone"].gflops == pytest.approx(4.004, abs=5e-4)
    assert parts["refine_net"].gflops == pytest.approx(2.243, abs=5e-4)
    assert statistics.summary().startswith("27.41 M parameters, 7.316 GFLOPs (backbone 4.004, ")


def test_coarse_first_saves_products(meta_cpn: Build) -> None:
    """RefineNet's 1x1 of 384 outputs and the pyramid's of 256 see a quarter of the cells or less.

    By hand, in cells of 64 x 48 = 3072: the three coarser levels' 256 x 384 products are taken at
    1/4 + 1/16 + 1/64 instead of 3 times 1, the top-down 256 x 256 at 1/4 of 1 + 1/4 + 1/16.
    """
    refine = 3072 * 256 * 384 * (3 - 1 / 4 - 1 / 16 - 1 / 64)
    top_down = 3072 * 256 * 256 * (1 + 1 / 4 + 1 / 16) * 3 / 4
    statistics = model_statistics(meta_cpn("resnet50"), (256, 192))
    saved = statistics.gflops - statistics.computed_gflops
    assert saved == pytest.approx((refine + top_down) / 1e9)
    assert statistics.summary().endswith(", computed with 6.310")


def test_a_multiply_add_counts_once(small_cpn: Build) -> None:
    model = small_cpn(refined=False)
    stem = model_statistics(model, (64, 64)).parts["backbone"].gflops * 1e9
    # width 0.125 leaves 8 channels in the stem: 7 * 7 * 3 * 8 products at each of 32 x 32 cells
    assert stem > 7 * 7 * 3 * 8 * 32 * 32
    assert "refine_net" not in model_statistics(model, (64, 64)).parts
    one_level = small_cpn(levels=(2,), refined=False)
    pyramid = model_statistics(one_level, (64, 64)).parts["pyramid"].gflops * 1e9
    assert pyramid == pytest.approx(8 * 16 * 16 * 16)


def test_the_model_is_left_as_it_was(small_cpn: Build) -> None:
    model = small_cpn().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model_statistics(model, (64, 64))
    assert model.training
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_paper_ablation_costs_rise_with_the_levels_fed(small_cpn: Build) -> None:
    """CPN table 4: C2 < C2-C3 < C2-C4 < C2-C5, and concat < cascade < one bottleneck each."""

    def cost(bottlenecks: dict[int, int]) -> float:
        return model_statistics(small_cpn(bottlenecks=bottlenecks), (64, 64)).gflops

    fed = [{2: 0}, {2: 0, 3: 1}, {2: 0, 3: 1, 4: 2}, {2: 0, 3: 1, 4: 2, 5: 3}]
    assert sorted(costs := [cost(bottlenecks) for bottlenecks in fed]) == costs
    assert len(set(costs)) == 4
    concat, one_each = cost(dict.fromkeys((2, 3, 4, 5), 0)), cost(dict.fromkeys((2, 3, 4, 5), 1))
    assert concat < costs[-1] < one_each
