import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cpn.engine.checkpoint import (
    CheckpointStore,
    load_model_file,
    load_model_metadata,
    save_model_file,
)
from cpn.errors import UserError
from cpn.state_dict import load_weights


def test_model_file_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.safetensors"
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    network = network.to(memory_format=torch.channels_last)
    metadata: Any = {"config": {"lr": 0.1, "levels": [2, 3], "name": "ä"}, "metrics": {}, "n": None}
    save_model_file(path, network.state_dict(), metadata)
    loaded = load_model_file(path)
    assert loaded.metadata == metadata
    assert loaded.state.keys() == network.state_dict().keys()
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state[name], tensor)
    load_weights(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), loaded.state, source=path)


def test_nonfinite_metadata_becomes_null(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_model_file(path, {}, {"metrics": {"AP": float("nan"), "all": [float("inf"), 1.0]}})
    assert load_model_file(path).metadata == {"metrics": {"AP": None, "all": [None, 1.0]}}


def test_missing_model_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no model file at .*gone.safetensors"):
        load_model_file(tmp_path / "gone.safetensors")


def test_foreign_safetensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"format": "pt"})
    with pytest.raises(UserError, match=r"other.safetensors is a .* not a model of this project"):
        load_model_file(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"format None, not 'cpn-model'"):
        load_model_file(path)


def test_other_format_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "later.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"format": "cpn-model", "format_version": "2"})
    with pytest.raises(UserError, match=r"later.safetensors has model format version 2, .*reads 1"):
        load_model_file(path)


@pytest.mark.parametrize("content", [b"", b"\x80\x04", b"x" * 100])
def test_damaged_model_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"broken.safetensors is not a readable safetensors file"):
        load_model_file(path)


def test_truncated_model_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_model_file(path, {"a": torch.zeros(100)}, {})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"model.safetensors is not a readable safetensors file"):
        load_model_file(path)


def test_state_round_trip(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints")
    assert store.latest() is None
    assert store.paths() == []
    state = {
        "tensor": torch.tensor([1.0, -0.0, float("nan")]),
        "nested": [1, (2.5, None, "a"), {"k": True, 3: float("-inf")}],
        "module": OrderedDict(a=torch.ones(2, dtype=torch.bfloat16)),
    }
    path = store.save(1, state)
    loaded = store.load(path)
    assert path == store.latest() == tmp_path / "checkpoints" / "epoch_0001.ckpt"
    assert loaded["nested"] == state["nested"]
    expected = np.array([1, -0.0, np.nan], np.float32)
    assert loaded["tensor"].numpy().tobytes() == expected.tobytes()
    assert loaded["module"]["a"].dtype == torch.bfloat16


def test_only_the_newest_two_stay(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    (tmp_path / ".epoch_0001.ckpt.77.tmp").write_bytes(b"a crash left this")
    (tmp_path / "epoch_best.ckpt").write_bytes(b"not ours")
    for epoch in (9, 10, 9999, 10000):
        store.save(epoch, {})
    assert [path.name for path in store.paths()] == ["epoch_9999.ckpt", "epoch_10000.ckpt"]
    assert store.latest() == tmp_path / "epoch_10000.ckpt"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "epoch_10000.ckpt",
        "epoch_9999.ckpt",
        "epoch_best.ckpt",
    ]


@pytest.mark.parametrize(
    ("value", "kind"), [(np.float64(1), "float64"), (Path("a"), "PosixPath"), ({1}, "set")]
)
def test_values_that_need_pickle_are_named(tmp_path: Path, value: object, kind: str) -> None:
    store = CheckpointStore(tmp_path / "checkpoints")
    with pytest.raises(TypeError, match=rf"state\.a\[0\]\.b is a {kind}, which a checkpoint may"):
        store.save(1, {"a": [{"b": value}]})
    assert store.paths() == []


@pytest.mark.parametrize("kept", [0, 1, 300, -1])
def test_unreadable_newest_state_is_an_error(tmp_path: Path, kept: int) -> None:
    store = CheckpointStore(tmp_path)
    store.save(1, {"a": torch.zeros(10)})
    newest = store.save(2, {"a": torch.zeros(10)})
    newest.write_bytes(newest.read_bytes()[:kept])
    latest = store.latest()
    assert latest == newest
    with pytest.raises(UserError, match=r"epoch_0002.ckpt cannot be read \(.+\); delete it"):
        store.load(latest)


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "owned"),)

    path = tmp_path / "epoch_0001.ckpt"
    torch.save({"format": "cpn-training-state", "x": Payload()}, path)
    with pytest.raises(UserError, match=r"epoch_0001.ckpt cannot be read"):
        CheckpointStore(tmp_path).load(path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [[1], {"state_dict": {}}])
def test_foreign_state_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "epoch_0001.ckpt"
    torch.save(content, path)
    with pytest.raises(UserError, match=r"epoch_0001.ckpt is not a training state of this project"):
        CheckpointStore(tmp_path).load(path)


def test_state_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "epoch_0001.ckpt"
    torch.save({"format": "cpn-training-state", "format_version": "2"}, path)
    with pytest.raises(UserError, match=r"epoch_0001.ckpt has training .* version 2, .* reads 1;"):
        CheckpointStore(tmp_path).load(path)


def test_metadata_is_read_without_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_model_file(path, {"a": torch.zeros(2)}, {"metrics": {"AP": 0.5}})
    assert load_model_metadata(path) == load_model_file(path).metadata == {"metrics": {"AP": 0.5}}
    with pytest.raises(FileNotFoundError, match="no model file at"):
        load_model_metadata(tmp_path / "none.safetensors")
