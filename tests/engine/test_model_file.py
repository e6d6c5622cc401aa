from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cpn.engine.model_file import (
    load_model_file,
    load_model_metadata,
    save_model_file,
)
from cpn.errors import UserError
from cpn.weights.state_dict import load_weights


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


def test_metadata_is_read_without_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_model_file(path, {"a": torch.zeros(2)}, {"metrics": {"AP": 0.5}})
    assert load_model_metadata(path) == load_model_file(path).metadata == {"metrics": {"AP": 0.5}}
    with pytest.raises(FileNotFoundError, match="no model file at"):
        load_model_metadata(tmp_path / "none.safetensors")
