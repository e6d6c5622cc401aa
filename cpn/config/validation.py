"""A plain mapping becomes a frozen schema, or all of its problems are told at once."""

import difflib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cpn.config.allowed import Node, Path, all_paths, descend, describe, dotted, keys_of
from cpn.errors import UserError

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong with a configuration.

    Attributes:
        where: Dotted path of the key, or the override as it was typed.
        what: What was given, what is allowed there and, where there is one, the nearest key.
    """

    where: str
    what: str

    def __str__(self) -> str:
        """Write the problem as one line."""
        return f"{self.where}: {self.what}" if self.where else self.what


class ConfigError(UserError):
    """A configuration that cannot be used, with everything that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems]
        if len(lines) > 1:
            lines = [f"{len(lines)} problems in the configuration", *(f"  {x}" for x in lines)]
        super().__init__("\n".join(lines))


def validate_plain(config: Mapping[str, Any], schema: type[T]) -> T:
    """Check a plain mapping (strings, numbers, lists, mappings) against a schema.

    Nothing is coerced (text is no number, true is no integer); integers do for floats, and lists
    for tuples. NaN and infinity are refused everywhere.

    Raises:
        ConfigError: With every problem: dotted path, value given, what is allowed, nearest key.
    """
    problems = {problem.where: problem for problem in _non_finite(config, ())}
    try:
        # Through JSON, as a checkpoint's config comes back: one strict rule for both.
        checked = schema.model_validate_json(json.dumps(config, default=str), strict=True)
    except ValidationError as error:
        for problem in _translate(error, config, schema):
            problems.setdefault(problem.where, problem)
        raise ConfigError(problems.values()) from None
    if problems:
        raise ConfigError(problems.values())
    return checked


def did_you_mean(name: str, candidates: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """Name the candidate nearest to `name`, or None when none is like it (0: any, 1: the same)."""
    return next(iter(difflib.get_close_matches(name, list(candidates), 1, likeness)), None)


def shown(value: object) -> str:
    """Write a value briefly, text in quotes: `"7"` is not 7."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _non_finite(value: object, path: Path) -> Iterator[Problem]:
    if isinstance(value, float) and not math.isfinite(value):
        yield Problem(dotted(path), f"got {value}, allowed: a finite number")
    elif isinstance(value, Mapping):
        for key, below in value.items():
            yield from _non_finite(below, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, below in enumerate(value):
            yield from _non_finite(below, (*path, index))


def _translate(
    error: ValidationError, config: Mapping[str, Any], schema: type[BaseModel]
) -> Iterator[Problem]:
    root = schema.model_json_schema()
    for detail in error.errors(include_url=False):
        path = _path_in(config, detail["loc"], missing=detail["type"] == "missing")
        where = dotted(path)
        if detail["type"] == "extra_forbidden":
            yield Problem(where, _unknown_key(path, detail["input"], root))
        elif detail["type"] == "missing":
            yield Problem(where, f"no value given, allowed: {_allowed(path, root)}")
        elif detail["type"] == "value_error":
            yield Problem(where, str(detail["ctx"]["error"]))
        else:
            given, allowed = detail["input"], _allowed(path, root)
            yield Problem(where, f"got {shown(given)}, allowed: {allowed}{_hint(given, allowed)}")


def _path_in(config: object, loc: Sequence[str | int], *, missing: bool) -> Path:
    """Keep the parts of pydantic's location that are keys; it also names branches of unions."""
    path: list[str | int] = []
    for part in loc:
        if isinstance(config, Mapping):
            keys = {str(key): value for key, value in config.items()}
            if str(part) in keys:
                config = keys[str(part)]
                path.append(str(part))
        elif isinstance(config, list | tuple) and isinstance(part, int) and part < len(config):
            config = config[part]
            path.append(part)
    return (*path, loc[-1]) if missing else tuple(path)


def _allowed(path: Path, root: Node) -> str:
    node = descend(path, root)
    return "see the schema" if node is None else describe(node, root)


def _hint(given: object, allowed: str) -> str:
    names = allowed.removeprefix("one of ").split(", ")
    near = did_you_mean(given, names) if isinstance(given, str) else None
    return f" (did you mean {near}?)" if near else ""


def _unknown_key(path: Path, value: object, root: Node) -> str:
    parent = descend(path[:-1], root)
    siblings = keys_of(parent, root) if parent is not None else []
    group = dotted(path[:-1])
    near = _nearest_path(path, siblings, root)
    hint = f", did you mean {near}?" if near else "."
    place = group or "the top"
    return f"unknown key (value {shown(value)}){hint} Keys of {place}: {', '.join(siblings)}"


def _nearest_path(path: Path, siblings: Sequence[str], root: Node) -> str | None:
    """Prefer a neighbour with a like name; else the same or a like name anywhere."""
    name = str(path[-1])
    beside = did_you_mean(name, siblings)
    if beside is not None:
        return dotted((*path[:-1], beside))
    everywhere = {str(other[-1]): other for other in reversed(list(all_paths(root, root)))}
    found = did_you_mean(name, everywhere, likeness=0.8)
    return dotted(everywhere[found]) if found else None
