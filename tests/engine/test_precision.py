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
    assert not precision.may_overflow()


@pytest.fixture(params=["avx512_bf16", "amx_bf16", "bf16", None])
def feature(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """The CPU's instructions for bf16, if any."""
    features = {"avx512_bf16": False, "avx2": True, request.param: True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features, raising=False)
    name: str | None = request.param
    return name


def test_auto_takes_bf16_where_the_cpu_computes_in_it(feature: str | None) -> None:
    assert Precision("auto", CPU).name == ("bf16" if feature else "fp32")


def test_a_pytorch_that_does_not_know_the_cpu_means_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert Precision("auto", CPU).name == "fp32"


def test_emulated_bf16_is_warned_of(feature: str | None, caplog: pytest.LogCaptureFixture) -> None:
    assert Precision("bf16", CPU).name == "bf16"
    assert ("bf16 is up to 40 times slower than fp32 on this CPU" in caplog.text) == (not feature)


def test_bf16_covers_the_network_only() -> None:
    precision = Precision("bf16", CPU)
    network = precision.autocast_calls(nn.Linear(1, 1))
    assert network(torch.ones(1, 1)).dtype == torch.bfloat16
    assert (torch.ones(1, 1) @ torch.ones(1, 1)).dtype == torch.float32


def test_fp16_needs_a_gpu() -> None:
    with pytest.raises(UserError, match=r"precision=fp16 .* needs a GPU; use fp32 on a CPU"):
        Precision("fp16", CPU)


def test_a_scale_below_one_explains_no_more_overflow() -> None:
    """The scaler of fp16, on a CPU."""
    precision = Precision("fp32", CPU)
    precision._scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    seen = []
    for _ in range(3):
        precision.backward(weight.sum() * torch.inf)
        assert not torch.isfinite(precision.clip_gradients(optimizer, None))
        seen.append(bool(precision.may_overflow()))
        precision.step(optimizer)
    assert seen == [True, True, False]
    assert weight.item() == 1


def test_unknown_precision() -> None:
    with pytest.raises(UserError, match=r"precision='fp8' is not known; use auto, fp32, bf16, fp"):
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
