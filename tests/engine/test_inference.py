from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cpn.engine.inference import evaluation_mode, map_batches


class Numbers:
    num_samples = 1

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def to(self, device: torch.device, *, non_blocking: bool = False) -> "Numbers":
        return Numbers(self.values.to(device, non_blocking=non_blocking))


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


def test_map_batches() -> None:
    net = nn.Dropout(0.5).train()

    def function(batch: Numbers) -> Any:
        assert not torch.is_grad_enabled()
        return net(batch.values).tolist()

    batches = [Numbers(torch.tensor([1.0, 2.0])), Numbers(torch.tensor([3.0]))]
    found = []
    for result in map_batches(function, batches, module=net, device=torch.device("cpu")):
        assert net.training
        assert torch.is_grad_enabled()
        found.append(result)
    assert found == [[1.0, 2.0], [3.0]]
    assert list(map_batches(function, [], module=net, device=torch.device("cpu"))) == []
