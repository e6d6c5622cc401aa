"""A composed configuration becomes a frozen schema: what refers to other keys is followed first."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel

from cpn.config.allowed import Path, dotted
from cpn.config.validation import ConfigError, Problem, validate_plain

T = TypeVar("T", bound=BaseModel)

_NO_VALUE = "no value given"


def validate(config: DictConfig | Mapping[str, Any], schema: type[T]) -> T:
    """Resolve a composed configuration and check it against its schema.

    `${other.key}` is followed; resolvers such as `${oc.env:...}` are refused, because what they
    read would be saved with every checkpoint.

    Raises:
        ConfigError: With every problem: dotted path, value given, what is allowed, nearest key.
    """
    if not isinstance(config, DictConfig):
        return validate_plain(config, schema)
    problems: list[Problem] = []
    raw = OmegaConf.to_container(config, resolve=False)
    plain = _resolve(raw, config, (), problems)
    try:
        checked = validate_plain(plain, schema)
    except ConfigError as error:
        raise ConfigError(_merged(problems, error.problems)) from None
    if problems:
        raise ConfigError(problems)
    return checked


def _resolve(raw: Any, node: Any, path: Path, problems: list[Problem]) -> Any:  # noqa: ANN401
    """Copy `node` as plain values; what has none is left out and noted in `problems`."""
    if not isinstance(raw, dict | list):
        return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    plain: dict[str | int, Any] = {}
    for key, value in raw.items() if isinstance(raw, dict) else enumerate(raw):
        name = key if isinstance(raw, list) else str(key)
        problem = _without_value(value, node, key, dotted((*path, name)))
        if problem is None:
            plain[name] = _resolve(value, node[key], (*path, name), problems)
        else:
            problems.append(problem)
    return plain if isinstance(raw, dict) else list(plain.values())


def _without_value(raw: object, node: Any, key: Any, where: str) -> Problem | None:  # noqa: ANN401
    if raw == "???":
        return Problem(where, _NO_VALUE)
    if isinstance(raw, str) and ":" in raw.partition("${")[2]:
        what = f"{raw} is not read: write the value, or refer to another key as ${{other.key}}"
        return Problem(where, what)
    try:
        node[key]
    except OmegaConfBaseException as error:
        return Problem(where, f"{raw} cannot be followed: {one_line_of(error)}")
    return None


def _merged(composed: Sequence[Problem], checked: Sequence[Problem]) -> list[Problem]:
    """Tell of each key once; of one without a value, the schema knows what is allowed."""
    known = {problem.where: problem for problem in checked}
    for problem in composed:
        if problem.what != _NO_VALUE or problem.where not in known:
            known[problem.where] = problem
    return list(known.values())


def one_line_of(error: Exception) -> str:
    """Join an error's lines and its cause's, without Hydra's advice to add unknown keys."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else ""
    text = " ".join(f"{error} {cause}".split()).partition(" To append to your ")[0]
    return text or type(error).__name__
