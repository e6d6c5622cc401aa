import pytest
import torch
from torch import nn

from cpn.engine.precision import Precision
from cpn.errors import UserError

CPU = torch.device("cpu")


def test_fp32_leaves_calls_alone() -> None:
    precision = Precision("fp32", CPU)
    with precision.autocast():
        assert nn.Linear(1, 1)(torch.ones(1, 1)).dtype == torch.float32
    assert precision.state_dict() == {}
    assert not precision.may_overflow


def test_bf16_covers_the_network_only(caplog: pytest.LogCaptureFixture) -> None:
    precision = Precision("bf16", CPU)
    assert "precision=bf16 on a CPU is up to 40 times slower" in caplog.text
    network = precision.autocast_calls(nn.Linear(1, 1))
    assert network(torch.ones(1, 1)).dtype == torch.bfloat16
    assert (torch.ones(1, 1) @ torch.ones(1, 1)).dtype == torch.float32


def test_fp16_needs_a_gpu() -> None:
    with pytest.raises(UserError, match=r"precision=fp16 .* needs a GPU; use fp32 on a CPU"):
        Precision("fp16", CPU)


def test_unknown_precision() -> None:
    with pytest.raises(UserError, match=r"precision='fp8' is not known; use fp32, bf16, fp"):
        Precision("fp8", CPU)


def test_state_of_another_precision_is_refused() -> None:
    precision = Precision("fp32", CPU)
    precision.load_state_dict({})
    with pytest.raises(UserError, match=r"was not saved with engine.precision=fp32; resume with"):
        precision.load_state_dict({"scale": 1.0})


@pytest.mark.parametrize(("clip_norm", "after"), [(None, 5.0), (1.0, 1.0), (10.0, 5.0)])
def test_clipping(clip_norm: float | None, after: float) -> None:
    weight, unused = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight, unused], lr=1.0)
    precision = Precision("fp32", CPU)
    precision.backward((weight * torch.tensor([3.0, 4.0])).sum())
    assert precision.clip_gradients(optimizer, clip_norm) == 5
    precision.step(optimizer)
    assert weight.grad is None
    assert weight.norm().item() == pytest.approx(after, rel=1e-4)
