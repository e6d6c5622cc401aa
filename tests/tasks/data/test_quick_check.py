import logging
from pathlib import Path
from typing import Any

import pytest

from cpn.config.schema import TrainConfig
from cpn.data.annotations import PersonAnnotations
from cpn.errors import UserError
from cpn.tasks.data.datasets import read_split
from cpn.tasks.data.quick_check import check_quickly
from cpn.tasks.train import train
from tests.conftest import TinyCoco
from tests.tasks.conftest import MakeConfig


def both(config: TrainConfig) -> tuple[PersonAnnotations, PersonAnnotations]:
    return (
        read_split(config.data, config.data.train, for_training=True),
        read_split(config.data, config.data.val, for_training=False),
    )


@pytest.fixture
def other_val(tiny_coco: TinyCoco, tmp_path: Path) -> str:
    """A validation file whose photos are others."""
    document = tiny_coco.read()
    for image in document["images"]:
        (tmp_path / "val").mkdir(exist_ok=True)
        content = (tiny_coco.images / image["file_name"]).read_bytes()
        (tmp_path / "val" / image["file_name"]).write_bytes(content)
    path = tmp_path / "val.json"
    TinyCoco(path, tmp_path / "val").write(document)
    return str(path)


def test_one_line_says_that_nothing_was_found(
    tiny_config: MakeConfig, tmp_path: Path, other_val: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny_config(f"data.val.annotations={other_val}", f"data.val.images={tmp_path}/val")
    people = both(config)
    with caplog.at_level(logging.INFO, "cpn.tasks.data.quick_check"):
        caplog.clear()
        check_quickly(config, *people)
    (line,) = caplog.messages
    assert "a quick look found nothing wrong" in line


def test_warnings_are_told_and_the_way_to_more(
    tiny_config: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny_config()
    people = both(config)
    with caplog.at_level(logging.INFO, "cpn.tasks.data.quick_check"):
        caplog.clear()
        check_quickly(config, *people)
    warning, hint = caplog.records
    assert warning.levelname == "WARNING"
    assert warning.message.startswith("data: 4 photos (ids 001.png, 002.png, 003.png, 004.png): it")
    assert "scripts/check_data.py" in hint.message


def test_an_error_ends_the_training_before_anything_is_written(
    tiny_config: MakeConfig, tiny_coco: TinyCoco, tmp_path: Path
) -> None:
    (tiny_coco.images / "001.png").write_bytes(b"no photo")
    with pytest.raises(
        UserError, match=r"001\.png: not a readable image: it is no .*; fetch it .*check_data\.py"
    ):
        train(tiny_config("engine.epochs=1"))
    assert not (tmp_path / "runs").exists()


def test_detections_are_not_looked_at(
    tiny_config: MakeConfig, tiny_coco: TinyCoco, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    detections: Any = tmp_path / "detections.json"
    detections.write_text("[]")
    config = tiny_config("boxes=detections", f"detections.file={detections}")
    with caplog.at_level(logging.INFO, "cpn.tasks.data.quick_check"):
        check_quickly(config, *both(config))
    assert "found nothing wrong" in caplog.text
