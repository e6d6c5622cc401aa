"""Typed and strict reading of JSON from users: no `"7"` for 7, no `true` for 1, no NaN.

A whole number may be written as 7.0, as pandas does. Of a key that is repeated in one object the
last value counts, as everywhere in Python.
"""

import codecs
import json
import math
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from cpn.errors import UserError

T = TypeVar("T")
Place = tuple[str | int, ...]
Mend = Callable[[Any], Any]

_SHOWN_KEYS = 8
_SHOWN_CHARACTERS = 200
_NOT_FINITE = "not a finite number"
_WAY_OUT = "mend or remove the record"


class Flaw(NamedTuple):
    """What is wrong with one record of a list in a document.

    Attributes:
        kind: what the record is: annotation, image or category.
        record_id: its id, or its place in the document where it has none.
        problem: the field and its fault, in the same words for all records alike.
        value: the field's value, shortened.
    """

    kind: str
    record_id: object
    problem: str
    value: str


class Mismatch(NamedTuple):
    """A record that is not of its type.

    Attributes:
        flaw: what is wrong, in full.
        reason: the same in few words, such as "annotation: wrong 'bbox'" or "image: no 'id'".
        message: the line that `convert` refuses the whole document with.
    """

    flaw: Flaw
    reason: str
    message: str


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
    content = _content(path)
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        return convert(_as_python(content, path, error), kind, source=str(path), mend=mend)


def read_any_json(path: Path) -> object:
    """Read a file whatever it holds, even NaN and Infinity, for `convert_each` to look through.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: the file cannot be read or is not JSON.
    """
    content = _content(path)
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        return _as_python_reads(content, path, error)[0]


def convert_each(
    document: Mapping[str, Any], field: str, kind: type[T], *, name: str, source: str
) -> Iterator[T | Mismatch]:
    """Check the records of a list, each by itself, as `read_json` checks them all.

    Args:
        document: what holds the list.
        field: the list's name; it is one.
        kind: what each record must be.
        name: what one is, for `Flaw.kind`.
        source: to be named in messages.
    """
    for index, record in enumerate(document[field]):
        place = _find_non_finite(record)
        text = _NOT_FINITE
        try:
            if place is None:
                yield _checked(record, kind)
                continue
        except msgspec.ValidationError as error:
            text, place = _text_and_place(error)
        yield Mismatch(
            _flaw(record, place, text, f"#{index + 1} of the list", name),
            f"{name}: {_in_few_words(text, place)}",
            f"{source}: {_at(document, (field, index, *place), text)}",
        )


def _flaw(record: object, place: Place, problem: str, where: str, name: str) -> Flaw:
    has_id = isinstance(record, dict) and isinstance(record.get("id"), int | str)
    field = _text(tuple(key for key in place if isinstance(key, str)))
    return Flaw(
        kind=name,
        record_id=record["id"] if isinstance(record, dict) and has_id else where,
        problem=f"'{field}': {problem}" if field else problem,
        value=_shown(_value_at(record, place)),
    )


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
        return _checked(document, kind, mend)
    except msgspec.ValidationError as error:
        text, place = _text_and_place(error)
        raise UserError(f"{source}: {_at(document, place, text)}") from error


def _checked(document: object, kind: type[T], mend: Mend | None = None) -> T:
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        problem = error
    try:
        plain = _plain(document)
        return msgspec.convert(mend(plain) if mend else plain, kind)
    except RecursionError:
        raise problem from None


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no such file: {path}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def _as_python(content: bytes, path: Path, error: Exception) -> object:
    """The document that is JSON but not right; refuses what is no JSON, with line and column."""
    if isinstance(error, msgspec.ValidationError):
        try:
            return msgspec.json.decode(content)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as later:
            error = later
    document, place = _as_python_reads(content, path, error)
    raise UserError(f"{path}: {_at(document, place, '')}") from error


def _as_python_reads(content: bytes, path: Path, error: Exception) -> tuple[object, Place]:
    """What is JSON but for numbers that are not finite, and the place of the first of these."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as reason:
        raise UserError(f"{path}: not valid JSON: {reason}") from error
    # Python reads more than JSON allows, NaN above all.
    place = _find_non_finite(document)
    if place is None:
        raise UserError(f"{path}: not valid JSON: {error}") from error
    return document, place


def _text_and_place(error: msgspec.ValidationError) -> tuple[str, Place]:
    text, _, place = str(error).partition(" - at `$")
    return text, _keys(place.rstrip("`"))


def _in_few_words(text: str, place: Place) -> str:
    if place:
        return f"wrong '{place[0]}'"
    missing = re.search(r"missing required field `(\w+)`", text)
    return f"no '{missing.group(1)}'" if missing else "no JSON object"


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
        problem = f"{_NOT_FINITE}; NaN and Infinity are not allowed"
    where = f"at {_text(place)}{_record_id(document, place)}: " if place else ""
    return f"{where}{problem} (value: {_shown(value)}); {_WAY_OUT}"


def _shown(value: object) -> str:
    text = reprlib.repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


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
