"""Typed and strict reading of JSON from users: no `"7"` for 7, no `true` for 1, no NaN.

A whole number may be written as 7.0, as pandas does.
"""

import codecs
import json
import math
import re
import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from cpn.errors import UserError

T = TypeVar("T")
Place = tuple[str | int, ...]
Mend = Callable[[Any], Any]

_SHOWN_KEYS = 8


def read_json(path: Path, kind: type[T], *, mend: Mend | None = None) -> T:
    """Read a file as a msgspec type; fields that the type does not name are skipped.

    Args:
        path: the file; a byte order mark at its start is skipped.
        kind: what it must be.
        mend: as in `convert`.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: the file cannot be read, is not JSON (NaN and Infinity are not), or a value has
            another type or range than `kind` says; the message has the file, the place in it, the
            record's id and the value.
    """
    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no such file: {path}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        return convert(_as_python(content, path, error), kind, source=str(path), mend=mend)


def convert(document: object, kind: type[T], *, source: str, mend: Mend | None = None) -> T:
    """Check a document of dicts and lists as `read_json` checks a file; numpy's numbers may be in.

    Only numbers whose type has a range are refused where they are NaN or infinite.

    Args:
        document: what to check.
        kind: what it must be.
        source: to be named in errors.
        mend: what to do to a document that is not right as it stands; nothing in it may change its
            place.

    Raises:
        UserError: a value has another type or range; with the source, the place, the record's id
            and the value.
    """
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        problem = error
    try:
        plain = _plain(document)
        return msgspec.convert(mend(plain) if mend else plain, kind)
    except RecursionError:
        pass
    except msgspec.ValidationError as error:
        problem = error
    text, _, place = str(problem).partition(" - at `$")
    raise UserError(f"{source}: {_at(document, _keys(place.rstrip('`')), text)}") from problem


def _as_python(content: bytes, path: Path, error: Exception) -> object:
    """The document that is JSON but not right; refuses what is no JSON, with line and column."""
    if isinstance(error, msgspec.ValidationError):
        try:
            return msgspec.json.decode(content)
        except (msgspec.DecodeError, RecursionError) as later:
            error = later
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as reason:
        raise UserError(f"{path}: not valid JSON: {reason}") from error
    # Python reads more than JSON allows, NaN above all.
    place = _find_non_finite(document)
    if place is not None:
        raise UserError(f"{path}: {_at(document, place, '')}") from error
    raise UserError(f"{path}: not valid JSON: {error}") from error


def _plain(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The same with numpy's values as Python's and whole floats as integers."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _at(document: object, place: Place, problem: str) -> str:
    """A problem with the value at a place such as `annotations[3].keypoints[5]`."""
    try:
        value = _value_at(document, place)
    except (LookupError, TypeError):  # a repeated key: what was checked is not what Python kept
        return f"at {_text(place)}: {problem}"
    if isinstance(value, float) and not math.isfinite(value):
        problem = "not a finite number; NaN and Infinity are not allowed, mend or remove the record"
    where = f"at {_text(place)}{_record_id(document, place)}: " if place else ""
    return f"{where}{problem} (value: {reprlib.repr(value)})"


def _keys(place: str) -> Place:
    """The keys of a place that msgspec names; those of our types are identifiers."""
    found = re.findall(r"\[(\d+)\]|\.(\w+)", place)
    return tuple(int(index) if index else name for index, name in found)


def _text(place: Place) -> str:
    parts = [
        f".{key}" if isinstance(key, str) and re.fullmatch(r"\w+", key) else f"[{key!r}]"
        for key in place[:_SHOWN_KEYS]
    ]
    return "".join(parts).removeprefix(".") + ("…" if len(place) > _SHOWN_KEYS else "")


def _value_at(document: Any, place: Place) -> Any:  # noqa: ANN401 - any JSON value
    for key in place:
        document = document[key]
    return document


def _record_id(document: object, place: Place) -> str:
    """' (id 17)' of the record of a list that `place` runs through, or nothing."""
    depth = next((i for i, key in enumerate(place[:2], start=1) if isinstance(key, int)), 0)
    record = _value_at(document, place[:depth])
    if not depth or not isinstance(record, dict):
        return ""
    known = [key for key in ("id", "image_id") if key in record]
    return f" ({known[0]} {reprlib.repr(record[known[0]])})" if known else ""


def _find_non_finite(document: object) -> Place | None:
    """The place of the first NaN or infinite number, depth first."""
    waiting: list[tuple[Place, object]] = [((), document)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, float) and not math.isfinite(value):
            return place
        if isinstance(value, dict):
            waiting += [((*place, key), item) for key, item in reversed(value.items())]
        elif isinstance(value, list):
            waiting += [((*place, i), value[i]) for i in reversed(range(len(value)))]
    return None
