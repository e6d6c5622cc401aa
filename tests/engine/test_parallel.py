import torch
from torch import nn

from cpn.engine.distributed import DistributedContext
from cpn.engine.parallel import prepare_module, set_training_mode, wrap_ddp
from cpn.engine.settings import TrainerSettings


def test_parameters_stay_the_same_objects() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    before = list(net.parameters())
    settings = TrainerSettings(epochs=1, channels_last=True)
    after = list(prepare_module(net, settings, DistributedContext()).parameters())
    assert all(one is other for one, other in zip(before, after, strict=True))
    assert after[0].is_contiguous(memory_format=torch.channels_last)


def test_one_rank_needs_no_wrapper() -> None:
    assert wrap_ddp(nn.Linear(1, 1), DistributedContext()) is None


def test_training_mode() -> None:
    net = nn.Sequential(nn.BatchNorm1d(1), nn.GroupNorm(1, 1), nn.Dropout()).eval()
    set_training_mode(net, freeze_batch_norm=True)
    assert [part.training for part in net] == [False, True, True]
    set_training_mode(net, freeze_batch_norm=False)
    assert [part.training for part in net] == [True, True, True]
