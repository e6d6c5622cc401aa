from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cpn.data.coco_schema import CocoDetection, CocoKeypointFile, decode_json_file, describe_ids
from cpn.errors import UserError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda child: (
        st.lists(child, max_size=4)
        | st.dictionaries(
            st.sampled_from(["images", "annotations", "id", "bbox"]), child, max_size=4
        )
    ),
    max_leaves=12,
)


@given(st.binary(max_size=30) | JSON.map(lambda value: repr(value).replace("'", '"').encode()))
@example(b"")
@example(b"\xff\xfe")
@example(b'{"a":' * 10_000)
@example(b'{"images": [], "annotations": [{"id": 1e999}], "categories": []}')
@example(b'[{"image_id": NaN}]')
@example(b'{"images": [], "annotations": [[1]], "categories": []}')
@settings(
    max_examples=150, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_bytes_give_a_document_or_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.json"
    path.write_bytes(content)
    for kind in (CocoKeypointFile, list[CocoDetection]):
        refusal = ""
        try:
            decode_json_file(path, kind)
        except UserError as error:
            refusal = str(error)
        assert not refusal or (refusal.startswith(f"{path}: ") and "\n" not in refusal)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"images": [', "not valid JSON: Input data was truncated"),
        ("{'images': []}", r"not valid JSON: .*byte 1\)"),
        ('{"images": [], "annotations": [{"id": 5, "x": [1, NaN]}]}', r"\.x\[1\] \(id 5\); NaN"),
        ('{"images": [], "annotations": [{"id": 5, "area": 1e999}]}', r"\.area \(id 5\); NaN"),
    ],
)
def test_messages_say_where(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(content)
    with pytest.raises(UserError, match=rf"broken\.json: .*{message}"):
        decode_json_file(path, CocoKeypointFile)


def test_unknown_fields_and_masks_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "extra.json"
    path.write_text(
        '{"info": 1, "images": [], "categories": [], "annotations": [{"id": 1, "image_id": 1,'
        '"category_id": 1, "bbox": [0, 0, 1, 1], "segmentation": {"counts": "?", "size": "?"}}]}'
    )
    assert decode_json_file(path, CocoKeypointFile).annotations[0].id == 1


def test_ids_are_counted_and_the_first_five_shown() -> None:
    assert describe_ids([3]) == "1 (3)"
    assert describe_ids(range(7)) == "7 (0, 1, 2, 3, 4, …)"
