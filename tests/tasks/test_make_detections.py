import json
from pathlib import Path
from typing import Any

import pytest

from cpn.config.data_schema import MakeDetectionsConfig
from cpn.errors import UserError
from cpn.tasks.make_detections import make_detections


@pytest.fixture
def options(tiny_coco: Any, tmp_path: Path) -> dict[str, Any]:
    return {
        "annotations": str(tiny_coco.annotations),
        "source": None,
        "out": str(tmp_path / "found.json"),
        "jitter": 0.0,
        "missed": 0.0,
        "repeats": 0.0,
        "invented": 0.0,
        "seed": 0,
    }


def test_exact_boxes(tiny_coco: Any, options: dict[str, Any]) -> None:
    document = tiny_coco.read()
    crowd = document["annotations"][-1] | {"id": 99, "iscrowd": 1}
    document["annotations"].append(crowd)
    tiny_coco.write(document)
    metrics = make_detections(MakeDetectionsConfig(**options))
    assert metrics["AP"] == pytest.approx(1.0)
    found = json.loads(Path(options["out"]).read_text())
    assert len(found) == 6
    assert found[0]["bbox"] == pytest.approx(document["annotations"][0]["bbox"])
    assert found[0]["score"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "change", [{"jitter": 0.3}, {"missed": 0.5}, {"invented": 3.0}, {"repeats": 3.0, "jitter": 0.1}]
)
def test_every_key_counts(options: dict[str, Any], change: dict[str, Any]) -> None:
    metrics = make_detections(MakeDetectionsConfig(**{**options, **change}))
    assert metrics["AP"] < 0.95 or "invented" in change  # a few, and less sure than the right ones
    again = {**options, **change, "seed": 5}
    before = Path(options["out"]).read_text()
    make_detections(MakeDetectionsConfig(**again))
    assert Path(options["out"]).read_text() != before


def test_a_file_is_made_worse(options: dict[str, Any], tmp_path: Path) -> None:
    make_detections(MakeDetectionsConfig(**{**options, "missed": 0.4, "seed": 3}))
    half = json.loads(Path(options["out"]).read_text())
    source = {"source": options["out"], "out": str(tmp_path / "worse.json")}
    make_detections(MakeDetectionsConfig(**{**options, **source}))
    assert json.loads((tmp_path / "worse.json").read_text()) == half


def test_no_box_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"tiny\.json: no box is found; lower missed="):
        make_detections(MakeDetectionsConfig(**{**options, "missed": 1.0}))
