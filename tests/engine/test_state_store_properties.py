"""H6: whatever a training state holds comes back bit for bit, and plain torch reads it, too."""

import struct
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from cpn.engine.state_store import StateStore

# Keys that the store writes itself.
OWN = ("format", "cpn_version")

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8)


def _tensor(dtype: torch.dtype, content: bytes) -> torch.Tensor:
    size = torch.empty((), dtype=dtype).element_size()
    whole = bytearray(content[: len(content) // size * size])
    return torch.frombuffer(whole, dtype=dtype) if whole else torch.empty(0, dtype=dtype)


numbers = st.integers() | st.floats(allow_nan=True, allow_infinity=True)
leaves = (
    st.none()
    | st.booleans()
    | numbers
    | st.text()
    | st.builds(_tensor, st.sampled_from(DTYPES), st.binary(max_size=40))
)
keys = st.text() | st.integers() | st.booleans() | st.none()
values = st.recursive(
    leaves,
    lambda below: (
        st.lists(below, max_size=4)
        | st.lists(below, max_size=4).map(tuple)
        | st.dictionaries(keys, below, max_size=4)
    ),
    max_leaves=12,
)


def bits(value: Any) -> Any:
    """Something that is equal only for values with the same type and the same bits."""
    if isinstance(value, torch.Tensor):
        raw = value.contiguous().view(torch.uint8) if value.numel() else value
        return "tensor", value.dtype, tuple(value.shape), tuple(raw.flatten().tolist())
    if isinstance(value, float):
        return "float", struct.pack(">d", value)
    if isinstance(value, list | tuple):
        return type(value).__name__, [bits(each) for each in value]
    if isinstance(value, dict):
        return "dict", [(bits(key), bits(each)) for key, each in value.items()]
    return type(value).__name__, value


@given(st.dictionaries(st.text(min_size=1), values, max_size=4))
@example({"a": [float("nan"), -0.0, 0.0, float("-inf")], "b": 2**100, "c": {1: True, "1": 1}})
@example({"nan": torch.tensor([float("nan"), -0.0]), "empty": torch.empty(0, 3)})
@example({"\ud800": "\ud800"})
def test_any_state_comes_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any]
) -> None:
    state = {key: value for key, value in state.items() if not key.startswith(OWN)}
    store = StateStore(tmp_path_factory.mktemp("states"))
    path = store.save(3, state)
    found = store.load_newest()
    assert found is not None
    loaded = {key: value for key, value in found[1].items() if not key.startswith(OWN)}
    assert bits(loaded) == bits(state)
    again = torch.load(path, map_location="cpu", weights_only=True)
    assert bits({key: again[key] for key in loaded}) == bits(state)


def test_other_bits_are_seen() -> None:
    assert bits(0.0) != bits(-0.0)
    assert bits([1]) != bits((1,)) != bits((True,))
    assert bits(torch.tensor([0.0])) != bits(torch.tensor([-0.0]))
    assert bits(float("nan")) == bits(float("nan"))
