import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cpn.config.evaluation_schema import CompareConfig
from cpn.errors import UserError
from cpn.tasks.compare import compare
from tests.evaluation.conftest import person

WRIST = 9


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    people = [person(1 + n, 1 + n // 2, (10.0 + 300 * (n % 2), 10.0)) for n in range(40)]
    document = {
        "images": [{"id": 1 + n} for n in range(20)],
        "annotations": people,
        "categories": [{"id": 1, "name": "person", "keypoints": [f"k{k}" for k in range(17)]}],
    }
    return written(tmp_path / "truth.json", document)


def written(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


def results(truth: Path, path: Path, *, wrist_moved: float, people: int = 40) -> Path:
    """Perfect but for one keypoint of the first people."""
    records = []
    for number, annotation in enumerate(json.loads(truth.read_text())["annotations"]):
        keypoints = np.reshape(annotation["keypoints"], (17, 3)).astype(float)
        keypoints[WRIST, 0] += wrist_moved * (number < people)
        record = {"image_id": annotation["image_id"], "category_id": 1, "score": 1 - number / 100}
        records.append(record | {"keypoints": keypoints.ravel().tolist()})
    return written(path, records)


def config(a: Path, b: Path, truth: Path, **changes: Any) -> CompareConfig:
    values: dict[str, Any] = {
        "a": str(a),
        "b": str(b),
        "annotations": str(truth),
        "sigmas": [0.05] * 17,
        "resamples": 100,
        "confidence": 0.95,
        "seed": 0,
        "most": 3,
        "out": None,
    }
    return CompareConfig(**{**values, **changes})


def test_the_better_one_is_told_with_keypoint_and_people(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = results(truth, tmp_path / "a.json", wrist_moved=200.0, people=30)
    b = results(truth, tmp_path / "b.json", wrist_moved=0.0)
    out = tmp_path / "c.json"
    found = compare(config(a, b, truth, out=str(out)))
    # Without one of 17 keypoints OKS is .94: right at 9 of 10 thresholds for 30 of 40 people.
    assert found.metrics["AP"].second == pytest.approx(1.0)
    assert 0.9 < found.metrics["AP"].first < 0.95
    assert found.metrics["AP"].difference.low > 0
    assert found.metrics["AP"].p_value < 0.05
    changed = [name for name, row in found.keypoints.items() if row.difference.value]
    assert changed == [f"k{WRIST}"]
    assert found.keypoints[f"k{WRIST}"].first < 0.3
    assert [p.change for p in found.people[:30]] == pytest.approx([1 / 17] * 30)
    assert [p.change for p in found.people[30:]] == [0.0] * 10
    shown = capsys.readouterr().out
    assert "b is better: AP differs by 0.0" in shown
    assert "30 of 40 people: 30 better, 0 worse in b" in shown
    written_down = json.loads(out.read_text())
    assert written_down["metrics"]["AP"]["p_value"] == found.metrics["AP"].p_value
    assert written_down["people"][0] == found.people[0]._asdict() | {"change": 1 - 16 / 17}
    assert written_down["keypoints"]["k0"]["difference"] == 0.0


def test_equal_files_do_not_differ(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = results(truth, tmp_path / "a.json", wrist_moved=3.0)
    found = compare(config(a, a, truth))
    assert {row.p_value for row in found.metrics.values() if row.p_value == row.p_value} == {1.0}
    assert "no difference: AP is the same" in capsys.readouterr().out


def test_a_small_change_may_be_chance(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = results(truth, tmp_path / "a.json", wrist_moved=0.0)
    b = results(truth, tmp_path / "b.json", wrist_moved=200.0, people=1)
    found = compare(config(a, b, truth))
    assert found.metrics["AP"].p_value > 0.05
    assert "no difference shown: AP differs by 0.00" in capsys.readouterr().out


def test_one_image_is_no_verdict(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(truth.read_text())
    one = {"images": document["images"][:1], "annotations": document["annotations"][:2]}
    written(truth, document | one)
    a = results(truth, tmp_path / "a.json", wrist_moved=200.0)
    b = results(truth, tmp_path / "b.json", wrist_moved=0.0)
    found = compare(config(a, b, truth))
    assert found.metrics["AP"].p_value == 1.0
    shown = capsys.readouterr().out
    assert "no difference shown: AP differs by 0.1000 (p = 1); one image says nothing" in shown
    assert "nan" not in shown


def test_three_images_are_too_few_for_a_verdict(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(truth.read_text())
    three = {"images": document["images"][:3], "annotations": document["annotations"][:6]}
    written(truth, document | three)
    a = results(truth, tmp_path / "a.json", wrist_moved=200.0)
    b = results(truth, tmp_path / "b.json", wrist_moved=0.0)
    found = compare(config(a, b, truth))
    assert found.metrics["AP"].difference.low > 0  # in every resample b is better
    assert found.metrics["AP"].p_value == 0.25
    assert "no difference shown: AP differs by 0.1000 (p = 0.25)" in capsys.readouterr().out


def test_nobody_to_find_is_no_verdict(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = results(truth, tmp_path / "a.json", wrist_moved=0.0)
    document = json.loads(truth.read_text())
    written(truth, document | {"annotations": [document["annotations"][0] | {"iscrowd": 1}]})
    compare(config(a, a, truth))
    shown = capsys.readouterr().out
    assert "nothing to compare: nobody is to be found" in shown
    assert "nan" not in shown


def test_results_of_other_images_are_refused(truth: Path, tmp_path: Path) -> None:
    a = results(truth, tmp_path / "a.json", wrist_moved=0.0)
    records = json.loads(a.read_text())
    records[3]["image_id"] = 999
    b = written(tmp_path / "b.json", records)
    with pytest.raises(UserError, match=r"b\.json: 1 image_id values are not .*999 \(record 3\)"):
        compare(config(a, b, truth))


def test_unknown_sigmas_are_asked_for(truth: Path, tmp_path: Path) -> None:
    a = results(truth, tmp_path / "a.json", wrist_moved=0.0)
    with pytest.raises(UserError, match="set sigmas="):
        compare(config(a, a, truth, sigmas=None))


def test_where_it_is_written_is_told(
    truth: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a = results(truth, tmp_path / "a.json", wrist_moved=0.0)
    with caplog.at_level(logging.INFO):
        compare(config(a, a, truth, out=str(tmp_path / "c.json")))
    assert f"written: {tmp_path / 'c.json'}" in caplog.text
