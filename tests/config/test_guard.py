import os
import time
from pathlib import Path

import pytest
from yaml import YAMLError

from cpn.config.guard import (
    MAX_YAML_BYTES,
    refuse_hostile_yaml,
    refuse_yaml_markup,
    refused_option,
    refused_override,
)
from cpn.config.validation import ConfigError


@pytest.mark.parametrize(
    "text",
    [
        "model._target_=os.system",
        "+model={_target_: builtins.open}",
        "++optimizer._target_=functools.partial",
        "hydra.launcher._target_=torch.load",
        "hydra.callbacks.x=1",
        "+hydra.job_logging.handlers.x.class=os.system",
        "++hydra.hydra_logging.root=null",
        "hydra/job_logging=stdout",
        "hydra/callbacks=x",
        "hydra.run.dir=/etc",
        "hydra.searchpath=[file:///tmp]",
        "hydra.job.env_set.LD_PRELOAD=x",
        "hydra={launcher: x}",
        "~hydra.help",
        "hydra/env@hydra.x=y",
        "+data@hydra.job_logging=x",
        "+data@_global_.hydra.callbacks=x",
        "data@model:hydra.callbacks=x",
        "hydra.launcher.setup=[ls]",
        "+hydra.launcher.setup.0=ls",
        "hydra.sweeper.custom_search_space=os.system",
        "hydra.launcher.comment='x\nls'",
        "hydra.launcher.additional_parameters={a: 'x\rls'}",
        "hydra.sweep.dir='x\nls'",
    ],
)
def test_code_names_and_hydra_settings_are_refused(text: str) -> None:
    problem = refused_override(text)
    assert problem is not None
    assert problem.where == text


@pytest.mark.parametrize(
    "text",
    [
        "model.levels=[2,3]",
        "run.name=hydra",
        "run.root=/data/hydra.runs",
        "hydrant=1",
        "hydra/launcher=submitit_slurm",
        "+hydra.launcher.partition=gpu",
        "hydra.sweeper.max_batch_size=2",
        "hydra.sweep.dir=sweeps",
        "hydra.mode=MULTIRUN",
        "hydra.launcher.partition=setup",
        "hydra.launcher.additional_parameters={mail-type: END}",
        "data@model=coco",
        "run.name=me@hydra",
    ],
)
def test_ordinary_overrides_and_launchers_pass(text: str) -> None:
    assert refused_override(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "data=../evil",
        "data='../evil'",
        'data="../evil"',
        "+data=x/../../evil",
        "data=[../evil]",
        "data=/tmp/evil",
        "data=x//tmp/evil",
        "data=x,../evil",
        "data=..",
    ],
)
def test_options_from_elsewhere_are_refused(text: str) -> None:
    problem = refused_option(text)
    assert problem is not None
    assert problem.where == text


@pytest.mark.parametrize("text", ["data=coco", "data=a..b", "data=mine/v1.2", "~data"])
def test_options_of_the_folder_pass(text: str) -> None:
    assert refused_option(text) is None


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.yaml", "a: &x [1]\nb: 2\n", "line 1: anchors and aliases are not accepted"),
        ("a.yaml", "a: 1\nb: *x\n", "line 2: anchors and aliases are not accepted"),
        ("a.yaml", "a: !!python/name:os.system x\n", "tags are not accepted"),
        ("a.yaml", "a: {_target_: os.system}\n", "_target_ is not accepted"),
        ("a.yaml", 'a: {"\\x5ftarget_": os.system}\n', "_target_ is not accepted"),
        ("a.yaml", "hydra: {job_logging: {root: null}}\n", "Hydra's own settings"),
        ("a.yaml", "hydra.run.dir: x\n", "Hydra's own settings"),
        ("a.yaml", "defaults: [override hydra/job_logging: evil]\n", "Hydra's own settings"),
        ("a.yaml", "defaults: [/x@hydra.callbacks: evil]\n", "Hydra's own settings"),
        ("a.yaml", "# @package hydra.callbacks\nx: 1\n", "Hydra's own settings"),
        ("a.yaml", "# @package _global_.hydra.job_logging\nx: 1\n", "Hydra's own settings"),
        ("a.yaml", "defaults: [x@_global_.hydra.callbacks: evil]\n", "Hydra's own settings"),
        ("a.yaml", "defaults: [/../../evil]\n", "defaults may not lead out of the folder"),
        ("a.yaml", "defaults: [override /../x: evil]\n", "defaults may not lead out"),
        ("a.yaml", "defaults: [data: [ok, ../../evil]]\n", "defaults may not lead out"),
        ("a.yaml", "defaults: [data: x//tmp/evil]\n", "defaults may not lead out of the folder"),
        (".yaml", "a: {_target_: os.system}\n", "_target_ is not accepted"),
        ("experiment/.yaml", "hydra: {job_logging: {root: null}}\n", "Hydra's own settings"),
        ("a.yaml", "a: " + "[" * 5000 + "]" * 5000, "not YAML: nested deeper than 30 levels"),
        ("hydra/launcher/a.yaml", "a: 1\n", "Hydra's own settings"),
        ("a.yaml", "a: " + "x" * MAX_YAML_BYTES, f"allowed: at most {MAX_YAML_BYTES}"),
        ("a.yaml", "a: [1\nb: {", "not YAML"),
        ("a.yml", "a: '", "not YAML"),
    ],
)
def test_hostile_files_are_refused_before_they_are_loaded(
    tmp_path: Path, name: str, text: str, reason: str
) -> None:
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        refuse_hostile_yaml(tmp_path)
    assert str(file) in str(error.value)
    assert reason in str(error.value)


def test_a_linked_folder_is_refused(tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "configs"
    elsewhere.mkdir()
    folder.mkdir()
    elsewhere.joinpath("a.yaml").write_text("a: {_target_: os.system}\n")
    folder.joinpath("experiment").symlink_to(elsewhere)
    with pytest.raises(ConfigError, match=r"configs/experiment: a link to a folder, which is not"):
        refuse_hostile_yaml(folder)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    tmp_path.joinpath("a.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match="not YAML"):
        refuse_hostile_yaml(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no folder"):
        refuse_hostile_yaml(tmp_path / "none")


def test_ordinary_files_pass(tmp_path: Path) -> None:
    tmp_path.joinpath("a.yaml").write_text(
        "# @package _global_\ndefaults: [override /x: y, z, {w: null}, {v: [a, b]}]\na: ../x\n"
    )
    tmp_path.joinpath("notes.txt").write_text("&not *yaml")
    refuse_hostile_yaml(tmp_path)


def bomb(levels: int = 30) -> str:
    """10^30 values in 31 lines."""
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels + 1)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (bomb(), "line 1: anchors and aliases are not accepted, write the value out"),
        ("a: !!python/object/apply:os.system [x]\n", "tags are not accepted"),
        ("[" * MAX_YAML_BYTES, "not YAML: nested deeper than 30 levels"),
        ("{a: " * (MAX_YAML_BYTES // 4), "not YAML: nested deeper than 30 levels"),
    ],
)
def test_hostile_yaml_costs_less_than_a_second(tmp_path: Path, text: str, reason: str) -> None:
    tmp_path.joinpath("a.yaml").write_text(text)
    began = time.process_time()
    with pytest.raises(ConfigError, match=reason):
        refuse_hostile_yaml(tmp_path)
    assert time.process_time() - began < 1


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    tmp_path.joinpath("a.yaml").touch()
    os.truncate(tmp_path / "a.yaml", 1 << 34)
    began = time.process_time()
    with pytest.raises(ConfigError, match=r"a\.yaml: 17179869184 bytes, allowed: at most 262144"):
        refuse_hostile_yaml(tmp_path)
    assert time.process_time() - began < 1


def test_plain_text_has_no_markup() -> None:
    refuse_yaml_markup("run: {name: hydra}\nlevels: [2, 3]\n")
    with pytest.raises(YAMLError, match="line 1: anchors and aliases are not accepted"):
        refuse_yaml_markup(bomb())
    with pytest.raises(YAMLError, match="line 2: tags are not accepted"):
        refuse_yaml_markup("a: 1\nb: !!set {x}\n")
    with pytest.raises(YAMLError, match=r"262145 characters, allowed: at most 262144"):
        refuse_yaml_markup("x" * (MAX_YAML_BYTES + 1))
