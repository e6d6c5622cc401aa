import json
import math
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cpn.coco.annotation_file import CocoFile
from cpn.coco.records import CocoDetection, CocoPhoto
from cpn.coco.strict_json import convert, read_json
from cpn.errors import UserError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda child: (
        st.lists(child, max_size=4)
        | st.dictionaries(
            st.sampled_from(["images", "annotations", "id", "bbox"]) | st.text(max_size=5),
            child,
            max_size=4,
        )
    ),
    max_leaves=12,
)


class Record(msgspec.Struct):
    id: int
    values: list[float] = []
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0


class Document(msgspec.Struct):
    records: list[Record]


@given(st.binary(max_size=30) | JSON.map(lambda value: json.dumps(value).encode()))
@example(b"")
@example(b"\xff\xfe")
@example(b'{"a":' * 10_000)
@example(b'{"images": [], "annotations": [{"id": 1e999}], "categories": []}')
@example(b'{"images": [{"id": "a\\nb"}], "annotations": [], "categories": []}')
@example(b'[{"image_id": NaN}]')
@example(b"[" * 450 + b"NaN" + b"]" * 450)
@example(b'{"images": [{"id": "x"}], "annotations": [], "categories": [], "images": []}')
@example(b'{"images": [], "annotations": [[1]], "categories": []}')
@settings(
    max_examples=150, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_bytes_give_a_document_or_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.json"
    path.write_bytes(content)
    kinds: list[type[Any]] = [CocoFile[CocoPhoto], list[CocoDetection]]
    for kind in kinds:
        refusal = ""
        try:
            read_json(path, kind)
        except UserError as error:
            refusal = str(error)
        assert not refusal or (refusal.startswith(f"{path}: ") and "\n" not in refusal)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"id": 1}, {"id": "785"}]', r"at \[1\]\.id \(id '785'\): Expected `int`.*value: '785'"),
        ('[{"id": true}]', r"at \[0\]\.id \(id True\): Expected `int`, got `bool` \(value: True\)"),
        ('[{"id": 4, "values": [0, null]}]', r"at \[0\]\.values\[1\] \(id 4\): .*value: None"),
        ('[{"id": 4, "share": 1.5}]', r"at \[0\]\.share \(id 4\): .* <= 1\.0 \(value: 1\.5\)"),
        ("[{}]", r"at \[0\]: Object missing required field `id` \(value: \{\}\)"),
        ('[{"image_id": 9}]', r"at \[0\] \(image_id 9\): Object missing required field `id`"),
        ('{"id": 1}', r"Expected `array`, got `object` \(value: \{'id': 1\}\)"),
        ("", r"not valid JSON: Expecting value: line 1 column 1"),
        ("[" * 100_000, r"not valid JSON: maximum recursion depth"),
        ('[{"id": 1}', r"not valid JSON: .*line 1 column 11"),
        ("[{'id': 1}]", r"not valid JSON: .*line 1 column 3"),
    ],
)
def test_errors_name_file_place_record_and_value(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"file\.json: {message}"):
        read_json(path, list[Record])


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"records": [{"id": 5, "values": [1, NaN]}]}', r"records\[0\]\.values\[1\] \(id 5\)"),
        ('{"records": [{"id": 5, "values": [-Infinity]}]}', r"records\[0\]\.values\[0\] \(id 5\)"),
        ('{"records": [{"id": 5, "values": [1e999]}]}', r"records\[0\]\.values\[0\] \(id 5\)"),
        ('{"records": [], "skipped": {"x": [NaN]}}', r"skipped\.x\[0\]"),
        ('{"records": [], "face-occluded": NaN}', r"\['face-occluded'\]"),
        ('{"records": [], "a\\nb": [{"": NaN}]}', r"\['a\\nb'\]\[0\]\[''\]"),
        ("[" * 450 + "NaN" + "]" * 450, r"(\[0\]){8}…"),
    ],
)
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, text: str, place: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    message = rf"file\.json: at {place}: not a finite number; NaN and Infinity are not allowed"
    with pytest.raises(UserError, match=message):
        read_json(path, Document)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b'["\\ud800"]'])
def test_bytes_that_are_no_json_text_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"file\.json: not valid JSON: "):
        read_json(path, list[Record])


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(b'\xef\xbb\xbf[{"id": 1}]')
    assert read_json(path, list[Record]) == [Record(1)]


def test_of_a_repeated_key_the_last_value_counts(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text('[{"id": 1, "id": 2}]')
    assert read_json(path, list[Record]) == [Record(2)]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file: .*none\.json"):
        read_json(tmp_path / "none.json", list[Record])


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"{tmp_path}: cannot be read: Is a directory"):
        read_json(tmp_path, list[Record])


@pytest.mark.parametrize("share", [math.nan, math.inf, -math.inf])
def test_a_document_is_checked_as_a_file_is(share: float) -> None:
    assert convert([{"id": 3}], list[Record], source="here") == [Record(3)]
    with pytest.raises(UserError, match=r"here: at \[0\]\.id \(id '3'\): Expected `int`"):
        convert([{"id": "3"}], list[Record], source="here")
    with pytest.raises(UserError, match=r"here: at \[0\]\.share \(id 3\): not a finite number"):
        convert([{"id": 3, "share": share}], list[Record], source="here")
