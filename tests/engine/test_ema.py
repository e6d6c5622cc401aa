import pytest
import torch
from torch import nn

from cpn.engine.ema import ModelEma
from cpn.errors import UserError


def constant_net(value: float) -> nn.Sequential:
    net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    fill(net, value)
    return net


def fill(net: nn.Module, value: float) -> None:
    """Set the only matrix."""
    for parameter in net.parameters():
        if parameter.ndim == 2:
            nn.init.constant_(parameter, value)


def weight_of(net: nn.Module) -> float:
    return float(next(net.parameters()))


def test_warm_up_then_decay() -> None:
    net = constant_net(0.0)
    ema = ModelEma(net, 0.15)
    fill(net, 1.0)
    expected = 0.0
    for decay in (1 / 10, 0.15, 0.15):  # (1 + t) / (10 + t) passes 0.15 at t = 1
        ema.update(net)
        expected = decay * expected + (1 - decay)
        assert weight_of(ema.module) == pytest.approx(expected)
    assert ema.updates == 3


def test_slow_average_warms_up() -> None:
    net = constant_net(0.0)
    ema = ModelEma(net, 0.999)
    fill(net, 1.0)
    ema.update(net)
    ema.update(net)
    expected = 1 - (1 / 10) * (2 / 11)
    assert weight_of(ema.module) == pytest.approx(expected)


def test_buffers_are_copied_and_nothing_trains() -> None:
    net = constant_net(1.0).train()
    ema = ModelEma(net, 0.9)
    net(torch.randn(4, 1))
    ema.update(net)
    ema.copy_buffers(net)
    for own, trained in zip(ema.module.buffers(), net.buffers(), strict=True):
        assert torch.equal(own, trained)
        assert own is not trained
    assert not ema.module.training
    assert not any(p.requires_grad for p in ema.module.parameters())
    assert all(p.requires_grad for p in net.parameters())


def test_state_round_trip() -> None:
    net = constant_net(1.0)
    ema = ModelEma(net, 0.9)
    fill(net, 3.0)
    ema.update(net)
    other = ModelEma(constant_net(7.0), 0.9)
    other.load_state_dict(ema.state_dict())
    ema.update(net)
    other.update(net)
    assert weight_of(other.module) == weight_of(ema.module)


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_decay_out_of_range(decay: float) -> None:
    with pytest.raises(UserError, match=r"engine.ema_decay=.* is out of range"):
        ModelEma(constant_net(1.0), decay)
