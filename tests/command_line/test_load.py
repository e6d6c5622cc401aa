"""The command line of a small made-up program: whatever is wrong comes out in plain words."""

import logging
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from omegaconf import OmegaConf
from pydantic import BaseModel, ConfigDict

from cpn.command_line.composed import validate
from cpn.config.validation import ConfigError
from cpn.process.program import configure_logging

PROGRAM = """
from typing import Annotated, Literal
from pydantic import BaseModel, ConfigDict, Field
from cpn.command_line.load import script
from cpn.errors import UserError

class Base(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

class Backbone(Base):
    name: str
    depth: int

class Optimizer(Base):
    name: Literal["adam", "sgd"]
    lr: Annotated[float, Field(gt=0)]

class Run(Base):
    name: str

class Config(Base):
    run: Run | None = None
    seed: int
    source: str
    backbone: Backbone
    optimizer: Optimizer
    levels: list[int]

@script("go", Config)
def main(config: Config) -> None:
    if config.source == "missing":
        raise FileNotFoundError("no picture at missing")
    if config.source == "bad":
        raise UserError("source=bad cannot be used")
    if config.source == "full":
        raise OSError(28, "No space left on device", "runs/model.safetensors")
    if config.source == "nowhere":
        open("/dev/null/x.json")
    if config.source == "bug":
        raise ValueError("a bug of ours")
    if config.source == "stop":
        raise KeyboardInterrupt
    print("ran", config.seed, config.backbone.name, config.optimizer.lr, config.levels)
    if config.run is not None:
        print("run", config.run.name)

if __name__ == "__main__":
    main()
"""
CONFIGS = {
    "base.yaml": Path(__file__).parents[2].joinpath("configs/base.yaml").read_text(),
    "go.yaml": "defaults: [base, backbone: small, _self_, experiment: null]\n"
    "seed: 0\nsource: ???\noptimizer: {name: adam, lr: 0.1}\nlevels: [2, 3]\n",
    "backbone/small.yaml": "name: small\ndepth: 1\n",
    "backbone/large.yaml": "name: large\ndepth: 9\n",
    "experiment/quick.yaml": "# @package _global_\n"
    "defaults: [override /backbone: large]\nseed: 5\n",
}


class Result(NamedTuple):
    code: object
    out: str
    err: str


Go = Callable[..., Result]


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Go:
    """Run the program in its own folder with the given arguments."""
    for name, text in {f"configs/{k}": v for k, v in CONFIGS.items()}.items():
        tmp_path.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        tmp_path.joinpath(name).write_text(text)
    program = tmp_path / "scripts" / "go.py"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", [str(program), *arguments])
        code: object = 0
        try:
            runpy.run_path(str(program), run_name="__main__")
        except SystemExit as stop:
            code = stop.code
        return Result(code, *capsys.readouterr())

    return run


def test_a_good_command_line_runs_the_task(go: Go) -> None:
    assert go("source=x", "seed=7", "backbone=large", "optimizer.lr=1", "levels=[4]") == (
        0,
        "ran 7 large 1.0 [4]\n",
        "",
    )
    assert go("source=x", "experiment=quick").out == "ran 5 large 0.1 [2, 3]\n"


def test_hydra_leaves_no_files_behind(go: Go, tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))
    go("source=x")
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["seed=x"], ['seed: got "x", allowed: an integer']),
        (["seed='7'"], ['seed: got "7", allowed: an integer']),
        (["optimizer.lr=nan"], ["optimizer.lr: got nan"]),
        (["optimizer.lrr=1"], ["optimizer.lrr: unknown key", "did you mean optimizer.lr?"]),
        (["optimizer.name=adm"], ["allowed: one of adam, sgd (did you mean adam?)"]),
        (["lr=1"], ["lr: unknown key", "did you mean optimizer.lr?"]),
        (["+new.key=1"], ["new: unknown key"]),
        (["++new=1"], ["new: unknown key"]),
        (["backbone=smal"], ["no option smal, did you mean backbone=small? Options: large, small"]),
        (["backbone=zzz"], ["backbone: no option zzz. Options: large, small"]),
        (["backbone@backbone=smal"], ["did you mean backbone=small?"]),
        (["backbon=small"], ["backbon: unknown key", "did you mean backbone?"]),
        (["experiment=quik"], ["did you mean experiment=quick?"]),
        (["experimnt=quick"], ["experimnt: unknown key, did you mean experiment=<one of quick>?"]),
        (["levels=[2,3"], ["levels=[2,3: cannot be read"]),
        (["seed"], ["seed: cannot be read"]),
        (["seed=1,2"], ["seed=1,2: several values need --multirun"]),
        (["seed=???"], ["seed: no value given, allowed: an integer"]),
        (["~seed"], ["seed: no value given, allowed: an integer"]),
        (["~nothing"], ["~nothing: Could not delete from config"]),
        (["seed.deep=1"], ["seed: got", "allowed: an integer"]),
        (["levels.x=1"], ["levels.x=1"]),
        (["seed=${nope}"], ["seed: ${nope} cannot be followed", "'nope' not found"]),
        (["source=${oc.env:HOME}"], ["source: ${oc.env:HOME} is not read: write the value"]),
        (["levels=[1,'${oc.env:HOME}']"], ["levels[1]: ${oc.env:HOME} is not read"]),
        (["optimizer={_target_: os.system}"], ["_target_ is not accepted"]),
        (["hydra.job_logging.root=x"], ["hydra.job_logging.root=x: not accepted"]),
        (["hydra.run.dir=x", "+hydra.callbacks.x=1"], ["hydra.run.dir=x", "hydra.callbacks.x=1"]),
        (["hydra.sweep.foo=x"], ["hydra.sweep.foo=x"]),
        (["--config-dir=nowhere"], ["--config-dir: there is no folder nowhere"]),
        (["--config-name=nowhere"], ["Cannot find primary config 'nowhere'"]),
        (["--experimental-rerun=x"], ["--experimental-rerun: not offered"]),
        (["--config-path=elsewhere"], ["--config-path: not offered: --config-dir takes a folder"]),
        (["--config-name=../x"], ["--config-name: got ../x, allowed: a file's name in configs/"]),
        (["--config-name=/tmp/x"], ["--config-name: got /tmp/x, allowed"]),
        (["experiment=../../x"], ["experiment=../../x: an option is a file's name in the group's"]),
        (["+experiment@a=../x"], ["+experiment@a=../x: an option is a file's name"]),
        (["hydra/launcher=../x"], ["hydra/launcher=../x: an option is a file's name"]),
        (["--cfg=job", "seedd=1"], ["seedd: unknown key", "did you mean seed?"]),
        (["--multirun", "backbone=large,smal"], ["did you mean backbone=small?"]),
        (["--multirun", "seed=1,2", "sed=1"], ["sed: unknown key"]),
    ],
)
def test_a_bad_command_line_is_explained_without_a_traceback(
    go: Go, arguments: list[str], told: list[str]
) -> None:
    flags = [text for text in arguments if text.startswith("--")]
    result = go(*flags, "source=x", *arguments[len(flags) :])
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("error: ")
    assert "Traceback" not in result.err
    for text in told:
        assert text in result.err


def test_a_required_key_is_asked_for(go: Go) -> None:
    assert go() == (2, "", "error: source: no value given, allowed: text\n")


def test_all_problems_of_a_command_line_come_at_once(go: Go) -> None:
    result = go("sed=1", "backbone=smal", "optimizer.lr=-1", "levels=[1", "+a.b=2", "~zzz")
    assert result.code == 2
    assert "7 problems in the configuration\n" in result.err
    for where in ("source", "sed", "backbone", "optimizer.lr", "levels=[1", "a", "~zzz"):
        assert f"\n  {where}: " in result.err


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing", "no picture at missing"),
        ("bad", "source=bad cannot be used"),
        ("full", "runs/model.safetensors: No space left on device"),
        ("nowhere", "/dev/null/x.json: Not a directory"),
    ],
)
def test_what_the_user_can_mend_leaves_with_code_2(go: Go, source: str, message: str) -> None:
    assert go(f"source={source}") == (2, "", f"error: {message}\n")


def test_ctrl_c_leaves_quietly(go: Go) -> None:
    assert go("source=stop") == (130, "", "interrupted\n")


def test_a_bug_keeps_its_traceback(go: Go) -> None:
    with pytest.raises(ValueError, match="a bug of ours"):
        go("source=bug")


def test_help_lists_groups_and_configuration(go: Go) -> None:
    result = go("--help")
    assert result.code == 0
    assert "backbone: large, small" in result.out
    assert "lr: 0.1" in result.out


def test_cfg_prints_the_composed_configuration(go: Go) -> None:
    assert "name: large" in go("--cfg", "job", "backbone=large").out


def test_multirun_runs_every_combination(go: Go) -> None:
    lines = go("--multirun", "source=x", "seed=1,2", "backbone=small,large").out.splitlines()
    assert [line.split()[1:3] for line in lines if line.startswith("ran")] == [
        ["1", "small"],
        ["1", "large"],
        ["2", "small"],
        ["2", "large"],
    ]


def test_every_job_of_a_multirun_has_its_own_run_directory(go: Go) -> None:
    lines = go("--multirun", "source=x", "seed=1,2", "+run.name=r").out.splitlines()
    assert [line for line in lines if line.startswith("run")] == ["run r_0", "run r_1"]
    assert "run r\n" in go("source=x", "+run.name=r").out


def test_options_may_come_from_a_folder_of_the_user(go: Go, tmp_path: Path) -> None:
    more = tmp_path / "more" / "experiment"
    more.mkdir(parents=True)
    more.joinpath("mine.yaml").write_text("# @package _global_\nseed: 9\n")
    assert go("--config-dir=more", "source=x", "experiment=mine").out.startswith("ran 9")
    told = go("--config-dir=more", "source=x", "experiment=mie", "optimizer.lr=0").err
    assert "did you mean experiment=mine? Options: mine, quick" in told
    assert "optimizer.lr: got 0" in told
    more.joinpath("mine.yaml").write_text("seed: !!python/object:os.system x\n")
    assert "tags are not accepted" in go("--config-dir=more", "source=x").err


class _Pair(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    a: int
    b: dict[str, int]


def test_references_to_other_keys_are_followed() -> None:
    config = OmegaConf.create({"a": "${b.x}", "b": {"x": 3}})
    assert validate(config, _Pair) == _Pair(a=3, b={"x": 3})
    assert validate({"a": 1, "b": {}}, _Pair) == _Pair(a=1, b={})


def test_a_default_of_the_schema_does_not_hide_a_missing_value() -> None:
    class Optional(BaseModel):
        a: int = 1

    with pytest.raises(ConfigError, match="a: no value given"):
        validate(OmegaConf.create({"a": "???"}), Optional)


def test_environment_variables_do_not_get_in_by_a_detour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "5")
    hidden = OmegaConf.create({"a": "${b.x}", "b": {"x": "${${b.y}:SECRET}", "y": "oc.env"}})
    with pytest.raises(ConfigError, match="is not read") as error:
        validate(hidden, _Pair)
    assert "got 5" not in str(error.value)


def test_log_lines_are_plain_and_warnings_are_marked(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure_logging()
        logging.getLogger("cpn.x").info("epoch 1")
        logging.getLogger("cpn.x").warning("slow")
        logging.getLogger("cpn.x").debug("hidden")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert capsys.readouterr().err == "epoch 1\nwarning: slow\n"


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import cpn.command_line.load, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    heavy = {"torch", "torchvision", "albumentations", "cv2", "pycocotools", "tensorboard"}
    assert not heavy & set(loaded.stdout.decode().split())


def test_a_reader_that_has_gone_is_no_error() -> None:
    script_file = Path(__file__).parents[2] / "scripts" / "train.py"
    read_end, write_end = os.pipe()
    os.close(read_end)
    left = subprocess.run(
        [sys.executable, str(script_file), "--help"],
        check=False,
        stdout=write_end,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(script_file.parents[1])},
    )
    os.close(write_end)
    assert (left.returncode, left.stderr) == (141, b"")
