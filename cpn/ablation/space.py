"""What a search may choose: dimensions, and the overrides that a choice in each comes to."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from cpn.ablation.plan import key_of
from cpn.config.search_schema import DimensionConfig
from cpn.config.study_schema import StudyConfig
from cpn.config.validation import ConfigError, Problem

Value: TypeAlias = str | int | float


@dataclass(frozen=True)
class Choices:
    """A dimension with named options.

    Attributes:
        name: of the study, or the dotted key.
        options: overrides by the option's name.
    """

    name: str
    options: Mapping[str, tuple[str, ...]]

    def overrides(self, value: Value) -> tuple[str, ...]:
        """What an option comes to."""
        return self.options[str(value)]

    @property
    def samples(self) -> list[Value]:
        """What is to be looked at before the search begins."""
        return list(self.options)


@dataclass(frozen=True)
class Range:
    """A dimension of numbers; whole ones if both ends are.

    Attributes:
        name: the dotted key.
        low: the first.
        high: the last.
        log: even by ratio instead of by difference.
        step: between the numbers; None: any.
    """

    name: str
    low: int | float
    high: int | float
    log: bool
    step: int | float | None

    @property
    def is_whole(self) -> bool:
        """Whether it has integers only."""
        return all(isinstance(end, int) for end in (self.low, self.high, self.step or 1))

    def overrides(self, value: Value) -> tuple[str, ...]:
        """What a number comes to."""
        return (f"{self.name}={value!r}",)

    @property
    def samples(self) -> list[Value]:
        """What is to be looked at before the search begins: the ends."""
        return [self.low, self.high]


Dimension: TypeAlias = Choices | Range


def dimension_of_study(study: StudyConfig, name: str) -> Choices:
    """The variants of a study as options."""
    return Choices(name, {key: tuple(v.overrides) for key, v in study.variants.items()})


def dimension_of_key(key: str, config: DimensionConfig) -> Dimension:
    """What was configured for a key."""
    if config.choices is not None:
        texts = [_text(choice) for choice in config.choices]
        return Choices(key, {text: (f"{key}={text}",) for text in texts})
    assert config.low is not None, "the schema asks for both ends"
    assert config.high is not None, "the schema asks for both ends"
    return Range(key, config.low, config.high, config.log, config.step)


def size_of(dimensions: Iterable[Dimension]) -> float:
    """How many combinations there are."""
    return math.prod(
        len(dimension.options) if isinstance(dimension, Choices) else math.inf
        for dimension in dimensions
    )


def overrides_of(dimensions: Iterable[Dimension], values: Mapping[str, Value]) -> list[str]:
    """The overrides of a combination.

    Args:
        dimensions: in the order of the search.
        values: by the dimension's name.

    Raises:
        ConfigError: two dimensions set the same key to different values.
    """
    chosen: dict[str, tuple[str, str]] = {}
    problems = []
    for dimension in dimensions:
        for text in dimension.overrides(values[dimension.name]):
            key = key_of(text)
            other, before = chosen.setdefault(key, (dimension.name, text))
            if before != text:
                what = f"{other} sets {before}, {dimension.name} sets {text}"
                problems.append(Problem(key, what))
    if problems:
        raise ConfigError(problems)
    return [text for _, text in chosen.values()]


def _text(choice: object) -> str:
    """As on the command line."""
    if isinstance(choice, bool):
        return str(choice).lower()
    if isinstance(choice, list):
        return f"[{','.join(map(_text, choice))}]"
    return str(choice)
