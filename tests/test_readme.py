"""What README and the guides say is so: commands compose, links lead somewhere, the tour runs."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from cpn.command_line.composed import validate
from cpn.command_line.launched import missing_plugin
from cpn.config.allowed import all_paths, dotted
from tests.config.schemas import script_schemas
from tests.readme import (
    PAGES,
    ROOT,
    Command,
    anchors_of,
    commands_of,
    inline_code,
    links_of,
    shell_lines,
)

CONFIGS = ROOT / "configs"
README = ROOT / "README.md"
PYTHONS = {"match", "weights_only"}  # arguments of functions that the texts speak of
COMMANDS = [command for page in PAGES for command in commands_of(page)]
HYDRA = [command for command in COMMANDS if command.script in script_schemas()]
# The tour's commands, made small: what is said last counts.
SMALL = {
    "make_synthetic": ["train_images=24", "val_images=6", "workers=0"],
    "train": ["backbone.width=0.125", "engine.batch_size=8", "data.workers=0", "engine.device=cpu"],
    "evaluate": ["evaluation.resamples=20", "workers=0", "device=cpu"],
    "compare": ["resamples=20"],
    "ablate": [
        *("data.train.limit=16", "backbone.width=0.125", "engine.batch_size=8", "study.seeds=[0]"),
        *("study.jobs=1", "engine.device=cpu"),
    ],
    "predict": ["device=cpu"],
    "export": ["people=4", "rounds=1"],
}


def _parameters(commands: list[Command]) -> list[object]:
    return [pytest.param(command, id=f"{i}-{command}"[:90]) for i, command in enumerate(commands)]


@pytest.fixture(autouse=True, scope="module")
def _hydra() -> Iterator[None]:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        yield


def _jobs(arguments: list[str]) -> list[list[str]]:
    """Every combination that a multirun stands for; of any other command, itself."""
    given = [argument for argument in arguments if argument not in {"-m", "--multirun"}]
    for override in given:
        assert missing_plugin(override) is None, override
    own = [override for override in given if not override.startswith(("hydra.", "hydra/"))]
    if len(given) == len(arguments):
        return [own]
    parsed = OverridesParser.create().parse_overrides(own)
    return [list(job) for batch in BasicSweeper.split_arguments(parsed, None) for job in batch]


def test_there_are_commands_to_check() -> None:
    of_readme = [command for command in COMMANDS if command.page == "README.md"]
    assert len(of_readme) > 30
    assert len(HYDRA) > 80
    told = {command.script for command in COMMANDS} - {None}
    assert {file.stem for file in (ROOT / "scripts").glob("*.py")} - told == set()


@pytest.mark.parametrize("command", _parameters(HYDRA))
def test_a_command_composes(command: Command) -> None:
    assert command.script is not None
    assert (ROOT / "scripts" / f"{command.script}.py").exists()
    for overrides in _jobs(list(command.arguments)):
        validate(compose(command.script, overrides), script_schemas()[command.script])


@pytest.mark.parametrize("command", _parameters([x for x in COMMANDS if x not in HYDRA]))
def test_another_command_names_what_exists(command: Command) -> None:
    program, *rest = command.words
    if command.script is not None:
        source = (ROOT / "scripts" / f"{command.script}.py").read_text()
        assert all(f'"{word}"' in source for word in rest if word.startswith("--"))
    elif program == "make":
        targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        assert {word for word in rest if "=" not in word} <= targets
    elif program == "python":
        assert rest[0] == "-m"
        assert (ROOT / f"{rest[1].replace('.', '/')}.py").exists()
    else:
        assert program == "pip"
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extras = {name for word in rest for name in re.findall(r"\[(.*)\]", word)}
        named = {extra for names in extras for extra in names.split(",")}
        assert named <= set(project["optional-dependencies"])


def test_a_command_is_whole() -> None:
    """No `…` stands for what a reader must guess."""
    assert [str(command) for command in COMMANDS if "…" in str(command)] == []


def test_readme_shows_nothing_else() -> None:
    """A line of a shell block of README that no test looks at would be a way round them."""
    known = ("make ", "python scripts/", "torchrun ", "pip ", "tensorboard ")
    assert [line for line in shell_lines(README) if not line.startswith(known)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_shell_is_shell(page: Path) -> None:
    text = "\n".join(shell_lines(page))
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


@cache
def _keys() -> set[str]:
    """Every key of every schema, every group, and the parents of both."""
    keys = {folder.name for folder in CONFIGS.iterdir() if folder.is_dir()} | {"hydra"}
    for schema in script_schemas().values():
        root = schema.model_json_schema()
        keys |= {dotted(path) for path in all_paths(root, root)}
    return keys


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_keys_in_the_text_exist(page: Path) -> None:
    found = [re.match(r"'?([a-z_]+(?:\.[a-z_0-9]+)*)=", code) for code in inline_code(page)]
    named = {match[1] for match in found if match}
    assert {key for key in named - PYTHONS - _keys() if not key.startswith("hydra.")} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links_of(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if target.parent == ROOT / "docs" / "api":
            continue  # made by `make docs`
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def test_every_guide_is_in_the_contents() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    guides = {file.stem for file in (ROOT / "docs").iterdir() if file.suffix == ".md"}
    assert {name for name in guides - {"index"} if f"\n{name}\n" not in index} == set()


def test_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 300


@pytest.mark.long
def test_the_tour_runs(tmp_path: Path) -> None:
    tour = [x for x in commands_of(README, "A tour of five minutes") if x in HYDRA]
    assert {command.script for command in tour} == set(SMALL)
    for command in tour:
        assert command.script is not None
        program = [sys.executable, str(ROOT / "scripts" / f"{command.script}.py")]
        given = [*program, *command.arguments, *SMALL[command.script]]
        done = subprocess.run(given, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stderr[-3000:]}"
    assert (tmp_path / "runs" / "studies" / "pyramid_levels" / "table.md").exists()
    assert (tmp_path / "runs" / "tour" / "best.onnx").exists()
    assert len(list((tmp_path / "predictions" / "pictures").iterdir())) == 6
