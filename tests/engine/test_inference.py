import pytest
import torch
from torch import nn

from cpn.engine.inference import evaluation_mode


def test_modes_come_back_one_by_one() -> None:
    net = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(1), nn.Linear(1, 1)).train()
    net[1].eval()

    def fail() -> None:
        with evaluation_mode(net):
            assert not any(part.training for part in net.modules())
            assert not torch.is_grad_enabled()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [part.training for part in net.modules()] == [True, True, False, True]
    assert torch.is_grad_enabled()
