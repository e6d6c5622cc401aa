"""Model files (safetensors) and training states (torch, plain types only).

Nothing here unpickles code: training states are read with `weights_only=True`.
"""

import io
import json
import pickle
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise_tensors
from torch import Tensor, nn

from cpn.atomic import plain_json, write_atomically
from cpn.errors import UserError

MODEL_FORMAT = "cpn-model"
STATE_FORMAT = "cpn-training-state"
FORMAT_VERSION = "1"

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class ModelFile(NamedTuple):
    """What a model file holds."""

    state: dict[str, Tensor]
    metadata: dict[str, Any]


def save_model_file(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, Json]) -> None:
    """Write weights with JSON metadata (config, skeleton, metrics …) in the header, atomically.

    Args:
        path: Where to; an existing file is replaced.
        state: A module's `state_dict()`.
        metadata: JSON values by name; non-finite floats become null.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    header = {name: json.dumps(plain_json(value)) for name, value in metadata.items()}
    assert not {"format", "format_version"} & header.keys(), "reserved metadata keys"
    header |= {"format": MODEL_FORMAT, "format_version": FORMAT_VERSION}
    write_atomically(path, serialise_tensors(tensors, header))


def load_model_file(path: Path) -> ModelFile:
    """Inverse of `save_model_file`; tensors come on the CPU.

    Raises:
        FileNotFoundError: no such file.
        UserError: not a safetensors file, or not one that this project wrote.
    """
    with _opened(path) as file:
        metadata = _metadata(path, file)
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return ModelFile(state, metadata)


def load_model_metadata(path: Path) -> dict[str, Any]:
    """The metadata of a model file, without its weights.

    Raises:
        FileNotFoundError: no such file.
        UserError: not a safetensors file, or not one that this project wrote.
    """
    with _opened(path) as file:
        return _metadata(path, file)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no model file at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise UserError(f"{path} is not a readable safetensors file: {error}") from error


def _metadata(path: Path, file: Any) -> dict[str, Any]:  # noqa: ANN401 - safetensors has no types
    header = dict(file.metadata() or {})
    marker, version = header.pop("format", None), header.pop("format_version", None)
    if marker != MODEL_FORMAT:
        raise UserError(
            f"{path} is a safetensors file, but not a model of this project (format {marker!r}, "
            f"not {MODEL_FORMAT!r}); published weights go through scripts/import_checkpoint.py"
        )
    if version != FORMAT_VERSION:
        raise UserError(
            f"{path} has model format version {version}, this program reads {FORMAT_VERSION}"
        )
    return {name: json.loads(value) for name, value in header.items()}


class CheckpointStore:
    """The training states of one run: `epoch_0003.ckpt` and the one before it.

    Args:
        folder: Where they lie; made when first written to.
        keep: How many of the newest states stay, at least 1.
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        assert keep >= 1
        self.folder = folder
        self.keep = keep

    def save(self, epoch: int, state: Mapping[str, Any]) -> Path:
        """Write the state after `epoch` epochs, then delete the oldest ones.

        Raises:
            TypeError: a value is not one that `weights_only=True` can load.
        """
        content = {"format": STATE_FORMAT, "format_version": FORMAT_VERSION, **state}
        _require_plain(content, "state")
        buffer = io.BytesIO()
        torch.save(content, buffer)
        path = self.folder / f"epoch_{epoch:04d}.ckpt"
        write_atomically(path, buffer.getvalue())
        for old in self.paths()[: -self.keep]:
            old.unlink()
        for leftover in self.folder.glob(".*.tmp"):
            leftover.unlink()
        return path

    def paths(self) -> list[Path]:
        """The states on disk, oldest first."""
        files = self.folder.glob("epoch_*.ckpt")
        return sorted((f for f in files if re.fullmatch(r"epoch_\d+\.ckpt", f.name)), key=_epoch)

    def latest(self) -> Path | None:
        """The newest state, None in a fresh run."""
        return max(self.paths(), key=_epoch, default=None)

    def load(self, path: Path) -> dict[str, Any]:
        """Read a training state, tensors on the CPU.

        Raises:
            UserError: the file cannot be read, is not a training state of this project, or is one
                of another version.
        """
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as error:
            reason = str(error).partition("\n")[0] or "it is empty"
            raise UserError(
                f"the training state {path} cannot be read ({reason}); delete it to resume from "
                "the one before it"
            ) from error
        if not isinstance(state, dict) or state.get("format") != STATE_FORMAT:
            raise UserError(f"{path} is not a training state of this project")
        if state.get("format_version") != FORMAT_VERSION:
            raise UserError(
                f"{path} has training state format version {state.get('format_version')}, this "
                f"program reads {FORMAT_VERSION}; resume with the version of cpn that wrote it"
            )
        return state


def _epoch(path: Path) -> int:
    return int(path.stem.removeprefix("epoch_"))


def _require_plain(value: object, name: str) -> None:
    """Refuse what `weights_only=True` would refuse, while its name is still known."""
    if isinstance(value, dict):
        for key, item in value.items():
            _require_plain(item, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _require_plain(item, f"{name}[{index}]")
    elif type(value) not in (Tensor, nn.Parameter, str, int, float, bool, type(None)):
        raise TypeError(f"{name} is a {type(value).__name__}, which a checkpoint may not hold")
