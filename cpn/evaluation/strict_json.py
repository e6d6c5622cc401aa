"""Typed reading and atomic writing of JSON documents from users."""

import json
import os
import re
import reprlib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from cpn.errors import UserError

T = TypeVar("T")


def read_json(path: Path, kind: type[T]) -> T:
    """Parse a file strictly into a msgspec type: no `"7"` for 7, no `true` for 1.

    NaN and Infinity, which are not JSON but which Python writes, come through as floats, so that
    the caller can refuse them by record: callers must check that numbers are finite.

    Raises:
        UserError: the file cannot be read, is not JSON, or a value has another type than `kind`
            says; the message has the file, the place in it and the value.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, RecursionError):
        return convert(_python_json(raw, str(path)), kind, source=str(path))


def convert(document: object, kind: type[T], *, source: str) -> T:
    """Check a document of dicts and lists strictly against a msgspec type.

    Raises:
        UserError: a value has another type; the message has the source, the place and the value.
    """
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        place = place.rstrip("`")
        value = reprlib.repr(_value_at(document, place))
        where = f"at {place}: " if place else ""
        raise UserError(f"{source}: {where}{problem} (value: {value})") from error


def write_json(document: object, path: Path) -> None:
    """Write a JSON file that is whole or absent after a crash: temporary file, fsync, rename.

    Raises:
        ValueError: a number is NaN or infinite.
        OSError: the disk refuses; an earlier file of this name is then unchanged.
    """
    text = json.dumps(document, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _python_json(raw: bytes, source: str) -> object:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{source}: not a JSON document: {error}") from error


def _value_at(document: Any, place: str) -> Any:  # noqa: ANN401 - any JSON value
    """Follow a msgspec path such as `[3].keypoints[5]`."""
    for index, name in re.findall(r"\[(\d+)\]|\.(\w+)", place):
        document = document[int(index)] if index else document[name]
    return document


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
