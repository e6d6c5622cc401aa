import math
import os
from pathlib import Path

import msgspec
import pytest

from cpn.errors import UserError
from cpn.evaluation.strict_json import read_json, write_json


class Record(msgspec.Struct):
    id: int
    values: list[float] = []


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"id": 1}, {"id": "785"}]', r"file\.json: at \[1\]\.id: Expected `int`.*'785'"),
        ('[{"id": true}]', r"at \[0\]\.id: Expected `int`, got `bool` \(value: True\)"),
        ('[{"id": 1, "values": [0, null]}]', r"at \[0\]\.values\[1\]: .*value: None"),
        ("[{}]", r"at \[0\]: Object missing required field `id`"),
        ('{"id": 1}', r"file\.json: Expected `array`, got `object`"),
        ("", r"file\.json: not a JSON document"),
        ("[" * 100_000, r"file\.json: not a JSON document"),
        ('[{"id": 1}', r"file\.json: not a JSON document"),
    ],
)
def test_errors_name_file_place_and_value(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_json(path, list[Record])


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a JSON document"):
        read_json(path, list[Record])


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.json: cannot be read: No such file"):
        read_json(tmp_path / "none.json", list[Record])


def test_python_s_nan_comes_through_for_the_caller_to_refuse(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text('[{"id": 1, "values": [NaN, -Infinity, 1e999]}]')
    values = read_json(path, list[Record])[0].values
    assert math.isnan(values[0])
    assert values[1:] == [-math.inf, math.inf]


def test_write_keeps_every_digit_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    numbers = [0.1 + 0.2, 1.600000023841858, 1e-17, -0.0]
    write_json([{"id": 1, "values": numbers}], path)
    assert read_json(path, list[Record])[0].values == numbers
    assert names_in(path.parent) == ["file.json"]


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.json"
    path.write_text("old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_json([1], path)
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["file.json"]


def test_nan_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json([math.nan], tmp_path / "file.json")
    assert names_in(tmp_path) == []
