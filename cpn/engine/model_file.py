"""Model files: safetensors with config, skeleton and metrics in the header."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise_tensors
from torch import Tensor

from cpn.engine.room import write_if_there_is_room
from cpn.errors import UserError
from cpn.files.atomic import plain_json
from cpn.version import __version__

MODEL_FORMAT = "cpn-model"
FORMAT_VERSION = "1"

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class ModelFile(NamedTuple):
    """What a model file holds.

    Attributes:
        state: a module's `state_dict()`.
        metadata: what was written with it.
    """

    state: dict[str, Tensor]
    metadata: dict[str, Any]


def save_model_file(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, Json]) -> None:
    """Write weights with JSON metadata (config, skeleton, metrics …) in the header, atomically.

    Args:
        path: Where to; an existing file is replaced.
        state: A module's `state_dict()`.
        metadata: JSON values by name; non-finite floats become null.

    Raises:
        UserError: The disk is full or cannot be written; what was there is as it was.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    header = {name: json.dumps(plain_json(value)) for name, value in metadata.items()}
    assert not {"format", "format_version", "cpn_version"} & header.keys(), "reserved metadata keys"
    header |= {
        "format": MODEL_FORMAT,
        "format_version": FORMAT_VERSION,
        "cpn_version": __version__,
    }
    write_if_there_is_room(
        path,
        serialise_tensors(tensors, header),
        what="the model",
        way_out="a file that was there is as it was, so make room and go on",
    )


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
    wrote = header.pop("cpn_version", "an early one")  # those of before it was written
    if marker != MODEL_FORMAT:
        raise UserError(
            f"{path} is a safetensors file, but not a model of this project (format {marker!r}, "
            f"not {MODEL_FORMAT!r}); published weights go through scripts/import_checkpoint.py"
        )
    if version != FORMAT_VERSION:
        raise UserError(
            f"{path} has model format version {version}, written by cpn {wrote}; this program, cpn"
            f" {__version__}, reads {FORMAT_VERSION}"
        )
    try:
        return {name: json.loads(value) for name, value in header.items()}
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} has a damaged header: {error}") from error
