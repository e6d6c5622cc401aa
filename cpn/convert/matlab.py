"""MATLAB files, whose structures scipy gives in many shapes."""

from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from cpn.errors import UserError, first_line
from cpn.process.pool import process_pool


def read_matlab(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB file, structures as objects, nothing in superfluous dimensions.

    They are read in another process: scipy's reader crashes on some damaged files.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is none that can be read.
    """
    try:
        with process_pool(1) as pool:
            return pool.submit(_load, path).result()
    except BrokenProcessPool as error:
        raise UserError(f"{path}: no MATLAB file: what reads it crashed; it is damaged") from error
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no such file: {path}") from error
    except NotImplementedError as error:
        text = "MATLAB's format 7.3 is not read; save it with save(…, '-v7')"
        raise UserError(f"{path}: {text}") from error
    except Exception as error:  # a damaged file leads scipy to any: NameError, MemoryError, …
        raise UserError(f"{path}: no MATLAB file: {first_line(error)}") from error


def _load(path: Path) -> dict[str, Any]:
    return dict(scipy.io.loadmat(path, squeeze_me=True, struct_as_record=False))


def variable(path: Path, variables: dict[str, Any], name: str) -> Any:  # noqa: ANN401 - any value
    """One of a file's variables.

    Raises:
        UserError: there is none of this name.
    """
    if name not in variables:
        known = ", ".join(key for key in variables if not key.startswith("__"))
        raise UserError(f"{path}: no variable '{name}'; there are: {known or 'none'}")
    return variables[name]


def each(value: Any) -> list[Any]:  # noqa: ANN401 - any value of MATLAB's
    """The elements of a structure array, which MATLAB does not tell from a single or no element."""
    if value is None:
        return []
    if isinstance(value, np.ndarray):
        return list(value.reshape(-1))
    return [value]


def attribute(structure: Any, *names: str) -> Any:  # noqa: ANN401
    """A field of a field …; None where one of them is not there or empty."""
    for name in names:
        structure = getattr(structure, name, None)
        if structure is None or (isinstance(structure, np.ndarray) and not structure.size):
            return None
    return structure
