import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cpn.errors import UserError
from cpn.models.weights import is_batch_counter, read_weights


class Payload:
    """Unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.path,))


def _state() -> dict[str, Tensor]:
    return {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}


def test_pth_and_safetensors_hold_the_same(tmp_path: Path) -> None:
    torch.save(_state(), tmp_path / "a.pth")
    save_file(_state(), tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        read = read_weights(tmp_path / name)
        assert {key: value.tolist() for key, value in read.items()} == {
            key: value.tolist() for key, value in _state().items()
        }


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict"])
def test_state_dict_inside_a_checkpoint_is_found(tmp_path: Path, wrapper: str) -> None:
    state = {f"module.{key}": value for key, value in _state().items()}
    torch.save({"epoch": 3, wrapper: state}, tmp_path / "a.pth")
    assert list(read_weights(tmp_path / "a.pth")) == ["weight", "bias"]


def test_prefix_stays_where_not_all_keys_have_it(tmp_path: Path) -> None:
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "a.pth")
    assert list(read_weights(tmp_path / "a.pth")) == ["module.a", "b"]


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.pth: no such weights file"):
        read_weights(tmp_path / "none.pth")


def test_pickled_objects_are_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1), "b": Payload(tmp_path / "ran")}, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"a\.pth: not a plain PyTorch file.*never exec"):
        read_weights(tmp_path / "a.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Payload(tmp_path / "ran"), protocol=2))
    with pytest.raises(UserError, match=r"bare\.pth: not a plain PyTorch file"):
        read_weights(tmp_path / "bare.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"\xff" * 64])
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=r"a\.(pth|safetensors): (cannot be read|not a plain)"):
        read_weights(tmp_path / name)


def test_cut_file_is_named(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(1000)}, tmp_path / "a.pth")
    (tmp_path / "a.pth").write_bytes((tmp_path / "a.pth").read_bytes()[:2000])
    with pytest.raises(UserError, match=r"a\.pth: cannot be read as a PyTorch file"):
        read_weights(tmp_path / "a.pth")


@pytest.mark.parametrize("content", [{}, [1, 2], {"epoch": 3}, {"state_dict": {}}])
def test_files_without_state_dict_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"a\.pth: holds no state dict"):
        read_weights(tmp_path / "a.pth")


def test_only_batch_counters_are_batch_counters() -> None:
    norm = nn.BatchNorm2d(2)
    assert [key for key in norm.state_dict() if is_batch_counter(key)] == ["num_batches_tracked"]
