from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from cpn.config.allowed import all_paths, descend, describe, dotted


class _Inner(BaseModel):
    name: Literal["a", "b"]
    only: Literal["x"]


class _Everything(BaseModel):
    count: Annotated[int, Field(ge=1, le=8)]
    size: Annotated[int, Field(multiple_of=32)]
    rate: Annotated[float, Field(gt=0, lt=1)]
    flag: bool
    text: str
    some_text: Annotated[str, Field(min_length=1)]
    model: Annotated[str, Field(pattern="^r", description="resnet18 or resnet50")]
    code: Annotated[str, Field(pattern="^r$")]
    inner: _Inner
    maybe: float | None
    either: int | Literal["auto"]
    free: Annotated[list[int], Field(min_length=1)]
    pair: Annotated[list[float], Field(min_length=2, max_length=2)]
    few: Annotated[list[bool], Field(max_length=3)]
    fixed: tuple[int, str]
    table: dict[str, int]
    file: Path


ROOT = _Everything.model_json_schema()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (("count",), "an integer >= 1 and <= 8"),
        (("size",), "an integer divisible by 32"),
        (("rate",), "a number > 0 and < 1"),
        (("flag",), "true or false"),
        (("text",), "text"),
        (("file",), "text"),
        (("some_text",), "non-empty text"),
        (("model",), "resnet18 or resnet50"),
        (("code",), "text that matches ^r$"),
        (("inner",), "a group with the keys name, only"),
        (("inner", "name"), "one of a, b"),
        (("inner", "only"), "x"),
        (("maybe",), "a number or null"),
        (("either",), "an integer or auto"),
        (("free",), "a list of 1 or more, each an integer"),
        (("free", 3), "an integer"),
        (("pair",), "a list of 2, each a number"),
        (("few",), "a list of 0 to 3, each true or false"),
        (("fixed",), "a list of 2: [an integer, text]"),
        (("fixed", 1), "text"),
        (("table",), "a mapping"),
        (("table", "any"), "an integer"),
    ],
)
def test_every_kind_of_value_is_described_in_words(path: Any, words: str) -> None:
    node = descend(path, ROOT)
    assert node is not None
    assert describe(node, ROOT) == words


def test_a_place_outside_the_schema_is_none() -> None:
    assert descend(("inner", "other"), ROOT) is None
    assert descend(("count", "deeper", "still"), ROOT) is None


def test_paths_are_written_as_they_are_typed() -> None:
    assert dotted(("model", "pyramid", "levels", 0)) == "model.pyramid.levels[0]"
    assert dotted(()) == ""


def test_all_paths_go_into_groups() -> None:
    paths = list(all_paths(ROOT, ROOT))
    assert ("inner",) in paths
    assert ("inner", "name") in paths
    assert len(paths) == len(_Everything.model_fields) + len(_Inner.model_fields)
