from pathlib import Path

import pytest
import torch
from torch import nn

from cpn.errors import UserError
from cpn.weights.state_dict import check_weights, load_weights


def test_every_key_is_copied() -> None:
    source, target = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    for tensor in source.state_dict().values():
        tensor.fill_(3)
    load_weights(target, source.state_dict(), source="other")
    assert all((tensor == 3).all() for tensor in target.state_dict().values())


def test_weights_that_do_not_fit() -> None:
    network = nn.Linear(2, 3)
    state = {"weight": torch.zeros(3, 4)} | {f"extra{i}": torch.zeros(1) for i in range(7)}
    message = (
        r"the weights of a\.pth do not fit the model; missing: bias; unexpected: extra0, extra1, "
        r"extra2, extra3, extra4 and 2 more; shape differs: weight \(3, 4\) instead of \(3, 2\)"
    )
    with pytest.raises(UserError, match=message):
        load_weights(network, state, source=Path("a.pth"))


def test_weights_that_do_not_fit_change_nothing() -> None:
    network = nn.Linear(2, 3)
    before = network.weight.clone()
    with pytest.raises(
        UserError, match=r"the weights of here do not fit the model; missing: bias$"
    ):
        load_weights(network, {"weight": torch.zeros(3, 2)}, source="here")
    assert torch.equal(network.weight, before)


def test_what_takes_no_memory_can_be_compared() -> None:
    network = nn.Linear(2, 3, device="meta")
    check_weights(network, nn.Linear(2, 3).state_dict(), source="here")
    with pytest.raises(UserError, match=r"the weights of here do not fit the model; missing: bias"):
        check_weights(network, {"weight": torch.zeros(3, 2)}, source="here")


def test_declared_gaps_and_leftovers_may_differ() -> None:
    norm = nn.BatchNorm2d(2)
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.fill_(7)
    keys = ("weight", "bias", "running_mean", "running_var")
    state = {key: torch.full((2,), 3.0) for key in keys} | {"fc": torch.ones(1)}
    load_weights(
        norm,
        state,
        source="",
        may_lack=lambda key: key == "num_batches_tracked",
        leftover=lambda key: key == "fc",
    )
    assert norm.running_mean is not None
    assert norm.running_mean.tolist() == [3.0, 3.0]
    assert norm.num_batches_tracked.item() == 7
