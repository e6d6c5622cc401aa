import math

import pytest
import torch
from torch import nn

from cpn.engine.optim import build_optimizer, build_scheduler
from cpn.errors import UserError


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
        self.head = nn.Conv2d(2, 1, 1)
        self.frozen = nn.Linear(1, 1).requires_grad_(False)


def _on_backbone(net: Net, factor: float) -> dict[str, float]:
    return {f"backbone.{name}": factor for name, _ in net.backbone.named_parameters()}


def test_groups_by_backbone_and_decay() -> None:
    net = Net()
    optimizer = build_optimizer(
        net, name="adamw", lr=0.1, weight_decay=0.2, lr_factors=_on_backbone(net, 0.1)
    )
    names = {parameter: name for name, parameter in net.named_parameters()}
    groups = {
        tuple(names[p] for p in group["params"]): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
    }
    assert groups == {
        ("backbone.0.weight",): (pytest.approx(0.01), 0.2),
        ("backbone.0.bias", "backbone.1.weight", "backbone.1.bias"): (pytest.approx(0.01), 0.0),
        ("head.weight",): (0.1, 0.2),
        ("head.bias",): (0.1, 0.0),
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)],
)
def test_optimizers_by_name(name: str, kind: type) -> None:
    optimizer = build_optimizer(Net(), name=name, lr=0.1, momentum=0.8, betas=(0.7, 0.6))
    assert type(optimizer) is kind
    group = optimizer.param_groups[0]
    assert group["momentum"] == 0.8 if name == "sgd" else group["betas"] == (0.7, 0.6)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_one_kernel_updates_all_parameters_on_a_cpu_too(name: str) -> None:
    net = Net()
    optimizer = build_optimizer(net, name=name, lr=0.5)
    assert optimizer.defaults["fused"] is True
    before = net.head.weight.detach().clone()
    net.head.weight.grad = torch.ones_like(before)
    optimizer.step()
    # sgd moves by lr * gradient, adam's first step by lr * sign(gradient)
    torch.testing.assert_close(net.head.weight.detach(), before - 0.5)


def test_unknown_optimizer() -> None:
    with pytest.raises(UserError, match=r"optimizer.name='lion' is not known; use adamw, adam or"):
        build_optimizer(Net(), name="lion", lr=0.1)


def test_nothing_to_train() -> None:
    with pytest.raises(
        UserError, match=r"no parameter is trainable: unfreeze .* \(frozen_stages\)"
    ):
        build_optimizer(nn.Linear(1, 1).requires_grad_(False), name="sgd", lr=0.1)


def rates(steps: int, **schedule: object) -> list[float]:
    """The head's learning rate before each step; the backbone's must be half of it."""
    net = Net()
    optimizer = build_optimizer(net, name="sgd", lr=2.0, lr_factors=_on_backbone(net, 0.5))
    scheduler = build_scheduler(optimizer, total_steps=steps, **schedule)  # type: ignore[arg-type]
    found = []
    for step in range(steps):
        scheduler.set_step(step)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(scheduler.learning_rate / 2)
        found.append(scheduler.learning_rate)
    return found


def test_constant_with_warm_up() -> None:
    found = rates(6, name="constant", warmup_steps=4, warmup_ratio=0.2)
    assert found == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0, 2.0])


def test_steps() -> None:
    found = rates(6, name="step", milestones_steps=[2, 5], gamma=0.1)
    assert found == pytest.approx([2, 2, 0.2, 0.2, 0.2, 0.02])


def test_cosine() -> None:
    found = rates(6, name="cosine", warmup_steps=2, warmup_ratio=0.5, final_ratio=0.1)
    cosines = [0.1 + 0.9 * (1 + math.cos(math.pi * k / 4)) / 2 for k in range(4)]
    assert found == pytest.approx([1.0, 1.5, *(2 * c for c in cosines)])
    assert rates(4, name="cosine")[2] == pytest.approx(1.0)


def test_cosine_ends_at_its_final_ratio_and_stays() -> None:
    optimizer = build_optimizer(Net(), name="sgd", lr=2.0)
    scheduler = build_scheduler(optimizer, name="cosine", total_steps=4, final_ratio=0.25)
    for step in (4, 9):
        scheduler.set_step(step)
        assert scheduler.learning_rate == pytest.approx(0.5)


def test_first_rate_is_set_at_once() -> None:
    optimizer = build_optimizer(Net(), name="sgd", lr=2.0)
    build_scheduler(optimizer, name="constant", total_steps=9, warmup_steps=3, warmup_ratio=0.1)
    assert optimizer.param_groups[-1]["lr"] == pytest.approx(0.2)


def test_schedule_errors() -> None:
    optimizer = build_optimizer(Net(), name="sgd", lr=2.0)
    with pytest.raises(UserError, match=r"schedule.name='poly' is not known; use cosine, step, co"):
        build_scheduler(optimizer, name="poly", total_steps=4)
    with pytest.raises(UserError, match=r"warm-up takes 5 steps, but the run has only 4"):
        build_scheduler(optimizer, name="cosine", total_steps=4, warmup_steps=5)
    with pytest.raises(UserError, match=r"schedule.milestones must ascend, not \[3, 2\]"):
        build_scheduler(optimizer, name="step", total_steps=4, milestones_steps=[3, 2])
