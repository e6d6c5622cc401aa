import math

import pytest

from cpn.ablation.space import Choices, Range, dimension_of_key, overrides_of, size_of
from cpn.config.search_schema import DimensionConfig
from cpn.config.validation import ConfigError

LEVELS = Choices("study", {"a": ("x=1", "y=[2]"), "b": ("x=3",)})


def test_choices_become_overrides_as_typed() -> None:
    config = DimensionConfig(choices=[True, 3, 0.5, "adam", [2, 3]])
    dimension = dimension_of_key("k", config)
    assert isinstance(dimension, Choices)
    assert [dimension.overrides(value) for value in dimension.samples] == [
        *(("k=true",), ("k=3",), ("k=0.5",), ("k=adam",), ("k=[2,3]",)),
    ]


@pytest.mark.parametrize(
    ("low", "high", "step", "whole"),
    [(1, 9, None, True), (1, 9, 2, True), (1, 9, 0.5, False), (1.0, 9, None, False)],
)
def test_a_range_is_whole_if_its_numbers_are(
    low: float, high: float, step: float | None, *, whole: bool
) -> None:
    dimension = dimension_of_key("k", DimensionConfig(low=low, high=high, step=step))
    assert isinstance(dimension, Range)
    assert dimension.is_whole == whole
    assert dimension.samples == [low, high]


def test_overrides_are_joined_and_contradictions_told() -> None:
    lr = Range("lr", 0.1, 1, log=False, step=None)
    assert overrides_of([LEVELS, lr], {"study": "a", "lr": 0.25}) == ["x=1", "y=[2]", "lr=0.25"]
    same, other = Choices("x", {"1": ("x=1",)}), Choices("y", {"[2]": ("y=[3]",)})
    assert overrides_of([LEVELS, same], {"study": "a", "x": "1"}) == ["x=1", "y=[2]"]
    with pytest.raises(ConfigError, match=r"^y: study sets y=\[2\], y sets y=\[3\]$"):
        overrides_of([LEVELS, other], {"study": "a", "y": "[2]"})


def test_how_many_combinations_there_are() -> None:
    assert size_of([LEVELS, LEVELS]) == 4
    assert math.isinf(size_of([LEVELS, Range("lr", 0.1, 1, log=False, step=None)]))
