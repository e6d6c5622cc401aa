"""Typed and strict reading of JSON from users: no `"7"` for 7, no `true` for 1, no NaN."""

import json
import math
import re
import reprlib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from cpn.errors import UserError

T = TypeVar("T")


def read_json(path: Path, kind: type[T]) -> T:
    """Read a file as a msgspec type; fields that the type does not name are skipped.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: the file cannot be read, is not JSON (NaN and Infinity are not), or a value has
            another type or range than `kind` says; the message has the file, the place in it, the
            record's id and the value.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no such file: {path}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UserError(f"{path}: {_explain(content, error)}") from error


def convert(document: object, kind: type[T], *, source: str) -> T:
    """Check a document of dicts and lists as `read_json` checks a file.

    Only numbers whose type has a range are refused where they are NaN or infinite.

    Raises:
        UserError: a value has another type or range; with the source, the place, the record's id
            and the value.
    """
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise UserError(f"{source}: {_explain_value(document, error)}") from error


def _explain(content: bytes, error: Exception) -> str:
    """Adds line and column, or the record and the value, to msgspec's message."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as reason:
        return f"not valid JSON: {reason}"
    if isinstance(error, msgspec.ValidationError):
        return _explain_value(document, error)
    # Python reads more than JSON allows, NaN above all.
    place = _find_non_finite(document, "")
    return f"not valid JSON: {error}" if place is None else _at(document, place, "")


def _explain_value(document: object, error: msgspec.ValidationError) -> str:
    problem, _, place = str(error).partition(" - at `$")
    return _at(document, place.rstrip("`"), problem)


def _at(document: object, place: str, problem: str) -> str:
    """A problem with the value at a place such as `.annotations[3].keypoints[5]`."""
    value = _value_at(document, place)
    if isinstance(value, float) and not math.isfinite(value):
        problem = "not a finite number; NaN and Infinity are not allowed, mend or remove the record"
    where = f"at {place.removeprefix('.')}{_record_id(document, place)}: " if place else ""
    return f"{where}{problem} (value: {reprlib.repr(value)})"


def _value_at(document: Any, place: str) -> Any:  # noqa: ANN401 - any JSON value
    for index, name in re.findall(r"\[(\d+)\]|\.(\w+)", place):
        document = document[int(index)] if index else document[name]
    return document


def _record_id(document: object, place: str) -> str:
    """' (id 17)' of the record of a list that `place` runs through, or nothing."""
    match = re.match(r"(?:\.\w+)?\[\d+\]", place)
    record = _value_at(document, match.group()) if match else None
    if not isinstance(record, dict):
        return ""
    known = [key for key in ("id", "image_id") if key in record]
    return f" ({known[0]} {reprlib.repr(record[known[0]])})" if known else ""


def _find_non_finite(value: object, place: str) -> str | None:
    """The place of the first NaN or infinite number, depth first."""
    if isinstance(value, float):
        return None if math.isfinite(value) else place
    children: list[tuple[str, object]] = []
    if isinstance(value, dict):
        children = [(f"{place}.{key}", child) for key, child in value.items()]
    elif isinstance(value, list):
        children = [(f"{place}[{index}]", child) for index, child in enumerate(value)]
    found = (_find_non_finite(child, child_place) for child_place, child in children)
    return next((hit for hit in found if hit is not None), None)
