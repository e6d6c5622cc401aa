"""Training and evaluating on data that are broken in part, as from the command line."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cpn.config.schema import TrainConfig
from cpn.data.image_files import MISSING, OTHER_SIZE, UNREADABLE
from cpn.errors import UserError
from cpn.tasks.prepare_data import prepare_data
from cpn.tasks.train import train
from tests.conftest import TinyCoco

MakeConfig = Callable[..., TrainConfig]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def split_coco(tiny_coco: TinyCoco) -> TinyCoco:
    """The training file has photos and records of its own; the val file stays right.

    Of its people 2 has no box, 3 and 4 no readable photo, and 5 and 6 one of another size.
    """
    train_images = tiny_coco.images.parent / "train_images"
    train_images.mkdir()
    for photo in tiny_coco.images.iterdir():
        (train_images / photo.name).write_bytes(photo.read_bytes())
    broken = TinyCoco(tiny_coco.annotations.with_name("train.json"), train_images)
    document = tiny_coco.read()
    document["annotations"][1]["bbox"] = "none"
    document["images"][3] |= {"width": 65}
    broken.write(document)
    (train_images / "003.png").write_bytes(b"no image")
    return broken


def overrides(data: TinyCoco) -> list[str]:
    return [f"data.train.annotations={data.annotations}", f"data.train.images={data.images}"]


@pytest.mark.parametrize("workers", [0, 2])
def test_training_goes_on_with_exact_counts(
    tiny_config: MakeConfig, split_coco: TinyCoco, caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    skip = ("data.on_error=skip", "data.max_skipped=0.9", f"data.workers={workers}")
    with caplog.at_level(logging.INFO):
        metrics = train(tiny_config(*overrides(split_coco), *skip, "engine.epochs=4"))
    assert 0 <= metrics["AP"] <= 1
    text = caplog.text
    assert "train.json: 1 of 6 people cannot be used: 1 x annotation: wrong 'bbox'." in text
    assert text.count("003.png: not a readable image") == 1
    assert text.count("004.png: the image is 64 x 48") == 1
    assert f"photos replaced so far: 2 x {OTHER_SIZE}, 2 x {UNREADABLE}" in text


def test_a_photo_that_vanishes_counts(
    tiny_config: MakeConfig, tiny_coco: TinyCoco, caplog: pytest.LogCaptureFixture
) -> None:
    (tiny_coco.images / "003.png").unlink()
    config = tiny_config("data.on_error=skip", "data.max_skipped=0.9", "data.val.limit=2")
    with caplog.at_level(logging.INFO):
        train(config)
    assert f"2 of 6 people cannot be used: 2 x {MISSING}" in caplog.text


def test_the_default_is_an_error(tiny_config: MakeConfig, split_coco: TinyCoco) -> None:
    with pytest.raises(UserError, match=r"train\.json: at annotations\[1\]\.bbox \(id 2\): .*mend"):
        train(tiny_config(*overrides(split_coco)))


def test_the_ceiling_stops_training(tiny_config: MakeConfig, split_coco: TinyCoco) -> None:
    skip = (*overrides(split_coco), "data.on_error=skip")
    with pytest.raises(
        UserError, match=r"1 of 6 people .* data\.max_skipped=0\.01 of them: 1 x ann"
    ):
        train(tiny_config(*skip))
    with pytest.raises(
        UserError, match=r"[3-5] of 6 people cannot be trained on, .*max_skipped=0\.4"
    ):
        train(tiny_config(*skip, "data.max_skipped=0.4"))


def test_evaluation_is_strict_all_the_same(tiny_config: MakeConfig, tiny_coco: TinyCoco) -> None:
    skip = ("data.on_error=skip", "data.max_skipped=0.9")
    (tiny_coco.images / "003.png").unlink()
    with pytest.raises(UserError, match=r"tiny\.json: image files missing in .*: 1 \(003\.png\)"):
        train(tiny_config(*skip))


def test_a_crop_cache_is_whole_or_none(
    tiny_config: MakeConfig, split_coco: TinyCoco, tmp_path: Path
) -> None:
    """Broken records are left out of it as of the training, photos have to be right."""
    from cpn.config.schema import PrepareDataConfig  # noqa: PLC0415

    skip = (*overrides(split_coco), "data.on_error=skip", "data.max_skipped=0.9")
    own = {"out": str(tmp_path / "crops"), "encoding": "raw", "jpeg_quality": 95}
    values = tiny_config(*skip).model_dump() | own | {"people_per_shard": 4}
    with pytest.raises(UserError, match=r"003\.png: not a readable image"):
        prepare_data(PrepareDataConfig.model_validate(values))
    (split_coco.images / "003.png").write_bytes((split_coco.images / "001.png").read_bytes())
    document = split_coco.read()
    document["images"][3]["width"] = 64
    split_coco.write(document)
    prepare_data(PrepareDataConfig.model_validate(values))
    metrics = train(tiny_config(*skip, f"data.cache={tmp_path / 'crops'}"))
    assert 0 <= metrics["AP"] <= 1


def test_a_stopped_run_may_go_on_with_skipping(
    tiny_config: MakeConfig, split_coco: TinyCoco, tiny_coco: TinyCoco
) -> None:
    train(tiny_config("engine.epochs=1"))
    with pytest.raises(UserError, match=r"data\.train\.annotations: .* -> "):
        train(tiny_config(*overrides(split_coco), "run.if_exists=resume"))
    resumed = ("run.if_exists=resume", "data.on_error=skip", "data.max_skipped=0.5")
    train(tiny_config("engine.epochs=1", *resumed))


def test_the_command_line_answers_in_one_line(split_coco: TinyCoco, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), "experiment=demo"]
    command += [*overrides(split_coco), f"run.root={tmp_path}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"error: {split_coco.annotations}: at annotations[1].bbox (id 2): ")
    assert line.endswith("(value: 'none'); mend or remove the record")
    assert "Traceback" not in done.stderr
