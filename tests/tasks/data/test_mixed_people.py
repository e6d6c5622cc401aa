import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from cpn.config.detection_schema import TrainDetectorConfig
from cpn.config.schema import TrainConfig
from cpn.errors import UserError
from cpn.tasks.data.datasets import read_split
from cpn.tasks.data.mixed_people import TrainingPeople, with_mixed_people
from cpn.tasks.train import train
from tests.conftest import TinyCoco

MakeConfig = Callable[..., TrainConfig]


@pytest.fixture
def hands(tiny_coco: TinyCoco, tmp_path: Path) -> Path:
    """The six people with their wrists alone, under other names; two of them have none."""
    document = tiny_coco.read()
    document["categories"][0].update(keypoints=["left_hand", "right_hand"], skeleton=[])
    for record in document["annotations"]:
        record["keypoints"] = record["keypoints"][27:33]
    for record in document["annotations"][:2]:
        record["keypoints"][2::3] = [0, 0]
    path = tmp_path / "hands.json"
    path.write_text(json.dumps(document))
    return path


def mixed(config: TrainConfig) -> TrainingPeople:
    people = read_split(config.data, config.data.train, for_training=True)
    return with_mixed_people(people, config.data)


def override(hands: Path, images: Path, more: str = "") -> str:
    keypoints = "keypoints:{left_wrist:left_hand,right_wrist:right_hand}"
    return f"data.mix=[{{annotations:{hands},images:{images},{keypoints}{more}}}]"


def test_other_keypoints_are_trained_on(
    tiny_config: MakeConfig, hands: Path, tiny_coco: TinyCoco, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny_config(override(hands, tiny_coco.images, ",weight:2"), "engine.epochs=1")
    with caplog.at_level(logging.INFO):
        found = mixed(config)
        train(config)
    assert len(found.people.instances) == 6 + 2 * 4
    labelled = found.people.instances.keypoints[6:, :, 2] > 0
    assert labelled[:, [9, 10]].any(axis=1).all()
    assert not labelled[:, [*range(9), *range(11, 17)]].any()
    assert "data.mix: 4 people of" in caplog.text
    assert "weight 2; without nose, left_eye" in caplog.text
    assert "data.mix: an epoch has 14 people, of data.train 6" in caplog.text
    lines = (Path(config.run.root) / "tiny" / "metrics.jsonl").read_text().splitlines()
    assert max(json.loads(line)["step"] for line in lines) == 7


def test_a_run_goes_on_with_the_same_sets_only(
    tiny_config: MakeConfig, hands: Path, tiny_coco: TinyCoco
) -> None:
    more = override(hands, tiny_coco.images)
    train(tiny_config(more, "engine.epochs=1"))
    hands.write_text(hands.read_text() + " ")
    with pytest.raises(UserError, match=r"data\.mix\.0\.annotations: "):
        train(tiny_config(more, "engine.epochs=1", "run.if_exists=resume"))


def test_a_set_that_is_not_there_is_named(tiny_config: MakeConfig, tmp_path: Path) -> None:
    config = tiny_config(f"data.mix=[{{annotations:{tmp_path / 'no.json'},images:x}}]")
    with pytest.raises(UserError, match=r"data\.mix\.0\.annotations=.*no\.json: no such file"):
        mixed(config)


@pytest.mark.parametrize("other", ["data.cache=crops", "data.on_error=skip"])
def test_what_is_for_one_set_is_refused(tiny_config: MakeConfig, other: str) -> None:
    with pytest.raises((UserError, ValidationError), match=r"is for one data set; with data\.mix"):
        tiny_config("data.mix=[{annotations:a,images:b}]", other)


def test_detectors_have_one_set(tiny_detector: Callable[..., TrainDetectorConfig]) -> None:
    with pytest.raises((UserError, ValidationError), match=r"data\.mix is for poses only"):
        tiny_detector("data.mix=[{annotations:a,images:b}]")


def test_default_sigmas_are_said_to_be_nobodys(
    tiny_config: MakeConfig, hands: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny_config(f"data.train.annotations={hands}", "data.sigmas=default")
    people = read_split(config.data, config.data.train, for_training=True)
    assert people.skeleton.sigmas == (0.079, 0.079)
    assert "those of left_hand, right_hand were measured by nobody" in caplog.text
