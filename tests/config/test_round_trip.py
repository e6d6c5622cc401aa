"""H10: any configuration that is accepted comes back the same from YAML, JSON and a model file."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from cpn.command_line.composed import validate
from cpn.config.schema import TrainConfig
from cpn.config.validation import ConfigError, validate_plain
from cpn.engine.model_file import load_model_metadata, save_model_file

CONFIGS = Path(__file__).parents[2] / "configs"
texts = st.text(min_size=1, max_size=20).filter(lambda text: "${" not in text and text != "???")
values = (
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.lists(st.integers(-1, 9))
)


@pytest.fixture(scope="module")
def ordinary() -> dict[str, Any]:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = compose("train", overrides=["data=custom", "run.name=x"])
    for split in (composed.data.train, composed.data.val):
        split.annotations = split.images = "x"
    return validate(composed, TrainConfig).model_dump(mode="json")


def _places(config: dict[str, Any], prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for key, value in config.items():
        found += _places(value, (*prefix, key)) if isinstance(value, dict) else [(*prefix, key)]
    return found


def _changed(config: dict[str, Any], place: tuple[str, ...], value: object) -> dict[str, Any]:
    key, *below = place
    inner = _changed(config[key], tuple(below), value) if below else value
    return config | {key: inner}


@given(st.data())
def test_what_is_accepted_comes_back(
    ordinary: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    changes = st.tuples(st.sampled_from(_places(ordinary)), values)
    plain = ordinary
    for place, value in data.draw(st.lists(changes, max_size=3)):
        plain = _changed(plain, place, value)
    try:
        config = validate_plain(plain, TrainConfig)
    except ConfigError:
        return
    dumped = config.model_dump(mode="json")
    assert validate_plain(dumped, TrainConfig) == config
    assert validate_plain(json.loads(json.dumps(dumped)), TrainConfig) == config
    assert validate(OmegaConf.create(dumped), TrainConfig) == config
    text = yaml.safe_dump(dumped, sort_keys=False)
    assert validate_plain(yaml.safe_load(text), TrainConfig) == config
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model_file(path, {}, {"config": dumped})
    assert validate_plain(load_model_metadata(path)["config"], TrainConfig) == config


def test_a_config_from_before_the_top_down_switch_has_that_path(ordinary: dict[str, Any]) -> None:
    plain = json.loads(json.dumps(ordinary))
    del plain["model"]["pyramid"]["top_down"]
    assert validate_plain(plain, TrainConfig) == validate_plain(ordinary, TrainConfig)
    assert validate_plain(plain, TrainConfig).model.pyramid.top_down


def test_a_config_from_before_the_extra_levels_choice_takes_them_from_the_backbone(
    ordinary: dict[str, Any],
) -> None:
    plain = json.loads(json.dumps(ordinary))
    del plain["model"]["pyramid"]["extra_from"]
    assert validate_plain(plain, TrainConfig).model.pyramid.extra_from == "backbone"
