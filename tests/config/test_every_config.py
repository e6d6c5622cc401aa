"""Every primary config, with every option of every group and every experiment, is valid."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from pydantic import BaseModel

from cpn.command_line.composed import validate
from cpn.config.allowed import all_paths, descend, dotted, keys_of
from cpn.config.guard import refuse_hostile_yaml
from cpn.config.validation import ConfigError
from tests.config.schemas import script_schemas

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
SHARED = "base"

# Keys that contradict each other until a person chooses.
CHOICES = {
    "ablate": ["study=pyramid_levels"],
    "ablate_detector": ["detector_study=detector_levels"],
    "benchmark": ["suite=step"],
    "collect": ["runs=[x]"],
    "convert_data": ["format=cvat"],
    "evaluate": ["checkpoint=x"],
    "prepare_data": ["out=x"],
    "search": ["studies=[pyramid_levels]"],
}


def _primary_names() -> list[str]:
    return sorted(file.stem for file in CONFIGS.glob("*.yaml") if file.stem != SHARED)


def _groups_of(primary: str) -> Iterator[str]:
    config = OmegaConf.to_container(OmegaConf.load(CONFIGS / f"{primary}.yaml"))
    assert isinstance(config, dict)
    for entry in config["defaults"]:
        if isinstance(entry, dict):
            yield from (key.split()[-1].removeprefix("/") for key in entry)


def _cases() -> list[tuple[str, str]]:
    cases = [(primary, "") for primary in _primary_names()]
    for primary in _primary_names():
        for group in _groups_of(primary):
            options = sorted(file.stem for file in (CONFIGS / group).glob("*.yaml"))
            cases += [(primary, f"{group}={option}") for option in options]
    return cases


@pytest.fixture(autouse=True, scope="module")
def _hydra() -> Iterator[None]:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        yield


def _validated(primary: str, *overrides: str) -> BaseModel:
    config = compose(primary, [*CHOICES.get(primary, []), *overrides])
    for key in OmegaConf.missing_keys(config):
        OmegaConf.update(config, key, "x")
    return validate(config, _schema(primary))


def _schema(primary: str) -> type[BaseModel]:
    assert primary in script_schemas(), f"no script has @script({primary!r}, <Schema>)"
    return script_schemas()[primary]


@pytest.mark.parametrize(("primary", "override"), _cases())
def test_every_option_is_valid(primary: str, override: str) -> None:
    assert isinstance(_validated(primary, *filter(None, [override])), _schema(primary))


def test_every_group_belongs_to_a_primary_config() -> None:
    folders = {folder.name for folder in CONFIGS.iterdir() if folder.is_dir()}
    used = {group for primary in _primary_names() for group in _groups_of(primary)}
    assert folders == used


def test_every_script_has_a_primary_config() -> None:
    assert set(script_schemas()) == set(_primary_names())


def test_configs_hold_plain_values_only() -> None:
    """No anchors, tags, `_target_` or settings of Hydra, but for the shared base."""
    with pytest.raises(ConfigError) as error:
        refuse_hostile_yaml(CONFIGS)
    assert [Path(problem.where).name for problem in error.value.problems] == [f"{SHARED}.yaml"]


def _takes_any_name(node: Any) -> bool:
    branches = [node, *(node or {}).get("anyOf", [])]
    return any("additionalProperties" in x or "patternProperties" in x for x in branches if x)


@pytest.mark.parametrize("primary", _primary_names())
def test_each_key_has_one_name_and_one_type(primary: str) -> None:
    """Misspell every key and give every value a wrong type, at once: each one is told."""
    root = _schema(primary).model_json_schema()
    leaves = [
        path for path in all_paths(root, root) if not keys_of(descend(path, root) or {}, root)
    ]
    assert leaves
    wrong = OmegaConf.create({})
    for path in leaves:
        # A mapping with names of the user's own, such as space, would look into one.
        other = "text" if _takes_any_name(descend(path, root)) else {"wrong": "type"}
        OmegaConf.update(wrong, dotted(path), other)
        OmegaConf.update(wrong, f"{dotted(path)}x", 1)
    with pytest.raises(ConfigError) as error:
        validate(wrong, _schema(primary))
    told = {problem.where: problem.what for problem in error.value.problems}
    for path in leaves:
        name = dotted(path)
        assert "allowed: " in told[name]
        assert "did you mean " in told[f"{name}x"], told[f"{name}x"]
