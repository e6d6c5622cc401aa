import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cpn.config.data_schema import EstimateSigmasConfig
from cpn.errors import UserError
from cpn.tasks.estimate_sigmas import estimate_sigmas
from tests.conftest import TinyCoco


@pytest.fixture
def second(tiny_coco: TinyCoco, tmp_path: Path) -> Callable[..., Path]:
    """`second(lambda document: …)`: the second annotator, 3 and 4 pixels off, in other order."""

    def make(change: Callable[[dict[str, Any]], object] = lambda _: None) -> Path:
        document = tiny_coco.read()
        for record in document["annotations"]:
            record["id"] += 100
            values = record["keypoints"]
            for at in range(0, len(values), 3):
                values[at] += 3
                values[at + 1] += 4
        document["annotations"].reverse()
        change(document)
        path = tmp_path / "second.json"
        path.write_text(json.dumps(document))
        return path

    return make


def run(first: Path, second: Path, **changes: Any) -> Any:
    values = {"min_iou": 0.5, "min_pairs": 1, "out": None, **changes}
    return estimate_sigmas(EstimateSigmasConfig(first=str(first), second=str(second), **values))


def test_people_are_paired_by_photo_and_box(
    tiny_coco: TinyCoco, second: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        found = run(tiny_coco.annotations, second(), out=str(tmp_path / "sigmas.json"))
    areas = [each["area"] for each in tiny_coco.read()["annotations"]]
    expected = (sum(25 / area for area in areas) / len(areas) / 2) ** 0.5
    assert found.pairs.max() == 6
    assert found.sigmas[found.pairs == 6] == pytest.approx(expected)
    assert "of 6 people: 'data.sigmas=[0." in caplog.text
    assert json.loads((tmp_path / "sigmas.json").read_text())["nose"]["pairs"] == found.pairs[0]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda d: d["categories"][0]["keypoints"].reverse(), {}, "both need the same, in one ord"),
        (lambda _: None, {"min_pairs": 7}, "fewer than min_pairs=7 .*: nose 6"),
        (
            lambda d: [r.update(bbox=[0, 0, 1, 1]) for r in d["annotations"]],
            {},
            "nobody of .* is in",
        ),
    ],
)
def test_what_cannot_be_measured_is_told(
    tiny_coco: TinyCoco, second: Any, change: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run(tiny_coco.annotations, second(change), **options)


def test_a_copy_is_no_second_annotator(tiny_coco: TinyCoco) -> None:
    with pytest.raises(UserError, match="one annotation, copied"):
        run(tiny_coco.annotations, tiny_coco.annotations)
