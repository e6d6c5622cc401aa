"""Published weights from files, read without unpickling code."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cpn.errors import UserError, first_line
from cpn.weights.torch_file import parse_torch_file

WRAPPERS = ("state_dict", "model", "model_state_dict")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file or of a PyTorch file (`weights_only=True`).

    A state dict inside a training checkpoint (under "state_dict" or "model") is found, and the
    prefix "module." that DataParallel adds is taken off.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: the file is damaged, holds pickled objects, or holds no state dict.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content = path.read_bytes()
    except (SafetensorError, RuntimeError, OSError, LookupError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as weights ({first_line(error)})") from error
    return _state_dict(parse_torch_file(content, source=path), path)


def _state_dict(content: object, path: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        nested = [content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)]
        content = nested[0] if nested else content
    tensors = {
        key: value
        for key, value in (content.items() if isinstance(content, Mapping) else ())
        if isinstance(key, str) and isinstance(value, Tensor)
    }
    if not isinstance(content, Mapping) or not tensors or len(tensors) != len(content):
        raise UserError(
            f"{path}: holds no state dict (names to tensors), neither at its top nor under "
            f"{', '.join(WRAPPERS)}"
        )
    prefix = "module."
    strip = len(prefix) if all(key.startswith(prefix) for key in tensors) else 0
    return {key[strip:]: value for key, value in tensors.items()}


def is_batch_counter(key: str) -> bool:
    """Whether it is BatchNorm's `num_batches_tracked`: files older than PyTorch 0.4.1 have none."""
    return key.endswith("num_batches_tracked")
