"""A predictor from a file that is here or elsewhere."""

import hashlib
from functools import partial
from pathlib import Path

from cpn.engine.model_file import load_model_metadata
from cpn.errors import UserError
from cpn.files.remote import fetch_once, is_remote
from cpn.prediction.predictor import Predictor


def load(
    path_or_url: str | Path, *, sha256: str | None = None, folder: str | Path | None = None
) -> Predictor:
    """A predictor from a model file, here or at an address that fsspec reads (https://, s3://, …).

    Args:
        path_or_url: of a model file. What is fetched is kept, and fetched once.
        sha256: of the file, in hexadecimal digits; None takes any model file of ours. These hold
            tensors and JSON: loading them runs nothing.
        folder: for what is fetched; None: ~/.cache/cpn.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it cannot be fetched, has another hash, or is no model file of ours.
    """
    check = partial(_check_model_file, str(path_or_url), sha256)
    if not is_remote(str(path_or_url)):
        check(Path(path_or_url))
        return Predictor.from_checkpoint(path_or_url)
    kept = Path.home() / ".cache" / "cpn" if folder is None else Path(folder)
    copy = fetch_once(str(path_or_url), kept, check)
    check(copy)  # also one of an earlier call
    return Predictor.from_checkpoint(copy)


def _check_model_file(source: str, sha256: str | None, path: Path) -> None:
    try:
        load_model_metadata(path)
    except UserError as error:
        raise UserError(f"{source}: no model file of this project: {error}") from error
    if sha256 is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256.lower():
        raise UserError(f"{source}: its SHA-256 is {found}, not {sha256}; do not use it")
