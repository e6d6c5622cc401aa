from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cpn.heatmaps import blurred_one_hot_heatmaps
from cpn.losses import CpnLoss, joint_errors, mean_of_hardest

GOLDEN = Path(__file__).parent / "golden" / "heatmaps"
LEVELS = ("p5", "p4", "p3", "p2")


def constant_maps(values: list[list[float]], size_hw: tuple[int, int] = (2, 3)) -> Tensor:
    """(N, K, h, w) maps that each hold one value."""
    return torch.tensor(values)[..., None, None].repeat(1, 1, *size_hw)


def one_level(**settings: Any) -> CpnLoss:
    return CpnLoss(("p2",), **{"refine_top_m": 2, **settings})


# One instance, joints with v = 2, 1, 0 and squared errors 1, 4, 9 against their targets.
PREDICTED = constant_maps([[2.0, 3.0, 3.0]])
TARGET = constant_maps([[1.0, 1.0, 0.0]])
VISIBILITY = torch.tensor([[2, 1, 0]])


def loss_of(loss: CpnLoss, *, refined: bool = True) -> dict[str, float]:
    parts = loss(
        [PREDICTED],
        PREDICTED if refined else None,
        [TARGET],
        TARGET if refined else None,
        VISIBILITY,
    ).parts
    return {name: part.item() for name, part in parts.items()}


def test_by_hand_with_the_originals_settings() -> None:
    # global: joint 2 is trained to zero, 3^2; halved mean of 1, 9, 9. refine: (4 + 1) / 2.
    parts = loss_of(one_level())
    assert parts == pytest.approx({"global_p2": 19 / 6, "global": 19 / 6, "refine": 2.5})


@pytest.mark.parametrize(
    ("settings", "expected_global", "expected_refine"),
    [
        ({"uncounted": "ignore"}, 1 / 6, 2.5),
        ({"global_joints": "labelled"}, 14 / 6, 2.5),
        ({"global_joints": "labelled", "uncounted": "ignore"}, 5 / 6, 2.5),
        ({"refine_joints": "visible"}, 19 / 6, 0.5),
        ({"global_weight": 0.125, "refine_weight": 2.0}, 19 / 24, 5.0),
        ({"global_weight": 0.0}, 0.0, 2.5),
        ({"refine_top_m": None}, 19 / 6, 5 / 3),
        ({"refine_top_m": 1}, 19 / 6, 4.0),
        ({"refine_top_m": 8}, 19 / 6, 5 / 3),  # clamped to K = 3
        ({"global_top_m": 2}, 9 / 2, 2.5),
    ],
)
def test_each_setting(
    settings: dict[str, Any], expected_global: float, expected_refine: float
) -> None:
    parts = loss_of(one_level(**settings))
    assert parts["global"] == pytest.approx(expected_global)
    assert parts["refine"] == pytest.approx(expected_refine)


def test_total_is_the_sum_and_parts_are_detached() -> None:
    predicted = PREDICTED.clone().requires_grad_()
    loss = one_level()([predicted], predicted, [TARGET], TARGET, VISIBILITY)
    assert loss.total.item() == pytest.approx(19 / 6 + 2.5)
    assert loss.total.requires_grad
    assert not any(part.requires_grad for part in loss.parts.values())


def test_global_net_only() -> None:
    assert set(loss_of(one_level(), refined=False)) == {"global_p2", "global"}


def test_levels_may_have_their_own_size() -> None:
    sizes = ((2, 2), (4, 6))
    predicted = [constant_maps([[3.0]], size) for size in sizes]
    target = [constant_maps([[1.0]], size) for size in sizes]
    loss = CpnLoss(("p3", "p2"))
    parts = loss(predicted, None, target, None, torch.tensor([[2]])).parts
    assert {name: part.item() for name, part in parts.items()} == {
        "global_p3": 2.0,
        "global_p2": 2.0,
        "global": 4.0,
    }


@pytest.mark.parametrize(("uncounted", "moves"), [("ignore", False), ("zero", True)])
def test_gradient_on_joints_that_global_net_does_not_count(uncounted: Any, moves: bool) -> None:
    predicted = PREDICTED.clone().requires_grad_()
    loss = one_level(uncounted=uncounted)([predicted], None, [TARGET], None, VISIBILITY)
    loss.total.backward()
    assert predicted.grad is not None
    assert predicted.grad[0, 0].all()
    assert bool(predicted.grad[0, 1:].any()) is moves


def test_mining_passes_gradient_to_the_hardest_joints_only() -> None:
    predicted = PREDICTED.clone().requires_grad_()
    loss = one_level(refine_top_m=1, global_weight=0.0)
    loss([PREDICTED], predicted, [TARGET], TARGET, VISIBILITY).total.backward()
    assert predicted.grad is not None
    assert predicted.grad[0, :, 0, 0].bool().tolist() == [False, True, False]


def test_hardest_are_chosen_per_instance_and_divided_by_m() -> None:
    errors = torch.tensor([[1.0, 5.0, 3.0], [2.0, 0.0, 0.0]])
    assert mean_of_hardest(errors, 2).item() == (8 / 2 + 2 / 2) / 2


def test_equal_shards_average_to_the_batchs_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    predicted, target = torch.rand(2, 4, 6, 5, 4, generator=generator)
    visibility = torch.randint(0, 3, (4, 6), generator=generator)
    loss = one_level(uncounted="ignore")
    whole, first, second = (
        loss([predicted[s]], predicted[s], [target[s]], target[s], visibility[s]).total
        for s in (slice(None), slice(2), slice(2, 4))
    )
    assert whole.item() == pytest.approx((first.item() + second.item()) / 2)


def test_errors_are_float32_also_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        errors = joint_errors(PREDICTED.bfloat16(), TARGET)
    assert errors.dtype == torch.float32


def golden_loss_inputs() -> dict[str, Any]:
    golden = np.load(GOLDEN / "loss.npz")
    cells = torch.from_numpy(np.stack([golden["cx"], golden["cy"]], -1)).float()
    visibility = torch.from_numpy(golden["visibility"])
    targets = [
        blurred_one_hot_heatmaps(
            (cells + 0.5) * 4 - 0.5,
            visibility > 0,
            size_hw=(64, 48),
            stride=4.0,
            kernel_size=kernel_size,
            border="reflect",
        )
        for kernel_size in (15, 11, 9, 7)
    ]
    return {
        "global_heatmaps": [torch.from_numpy(golden[f"global_{i}"]) for i in range(4)],
        "refined_heatmaps": torch.from_numpy(golden["refine"]),
        "global_targets": targets,
        "refined_target": targets[-1],
        "visibility": visibility,
    }


def test_golden_loss_of_pytorch_cpn() -> None:
    golden = np.load(GOLDEN / "loss.npz")
    loss = CpnLoss(LEVELS)(**golden_loss_inputs())
    assert loss.total.item() == pytest.approx(float(golden["loss_total"]), rel=1e-5)
    per_level = [loss.parts[f"global_{level}"].item() for level in LEVELS]
    np.testing.assert_allclose(per_level, golden["loss_per_level"], rtol=1e-5)
    assert loss.parts["global"].item() == pytest.approx(123.94543, rel=1e-6)
    assert loss.parts["refine"].item() == pytest.approx(109.47389, rel=1e-6)


def test_golden_errors_per_joint_of_pytorch_cpn() -> None:
    golden = np.load(GOLDEN / "loss.npz")
    inputs = golden_loss_inputs()
    errors = joint_errors(inputs["refined_heatmaps"], inputs["refined_target"])
    errors = errors * (inputs["visibility"] > 0)
    np.testing.assert_allclose(errors, golden["loss_refine_per_joint"], rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"levels": ()}, "at least one GlobalNet level"),
        ({"global_joints": "all"}, "global_joints must be one of visible, labelled, not 'all'"),
        ({"refine_joints": "v"}, "refine_joints must be one of visible, labelled, not 'v'"),
        ({"uncounted": "skip"}, "uncounted must be one of ignore, zero, not 'skip'"),
        ({"global_top_m": 0}, "global_top_m must be at least 1, or None for all joints, not 0"),
        ({"refine_top_m": -1}, "refine_top_m must be at least 1"),
        ({"global_weight": -0.5}, "global_weight must be a finite number >= 0, not -0.5"),
        ({"refine_weight": float("nan")}, "refine_weight must be a finite number >= 0, not nan"),
    ],
)
def test_refuses_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CpnLoss(**{"levels": ("p2",), **settings})


def test_refuses_inputs_that_do_not_fit() -> None:
    loss = one_level()
    with pytest.raises(ValueError, match=r"levels \['p2'\] but was given 2 heatmaps and 1 targets"):
        loss([PREDICTED, PREDICTED], None, [TARGET], None, VISIBILITY)
    with pytest.raises(ValueError, match=r"heatmaps \(1, 3, 2, 3\) and target \(1, 3, 2, 2\) diff"):
        loss([PREDICTED], None, [TARGET[..., :2]], None, VISIBILITY)
    with pytest.raises(ValueError, match="must be given together"):
        loss([PREDICTED], PREDICTED, [TARGET], None, VISIBILITY)
