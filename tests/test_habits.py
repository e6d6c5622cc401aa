"""What goes with a release says the same everywhere."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import cpn

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _pythons() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = {line.rpartition(" ")[2] for line in project["classifiers"]}
    return {text for text in found if re.fullmatch(r"3\.\d+", text)}


def test_the_version_is_one() -> None:
    assert _yaml(ROOT / "CITATION.cff")["version"] == cpn.__version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[(.+?)\]", changes, re.MULTILINE)
    assert newest is not None
    assert newest[1] == cpn.__version__


def test_hosted_ci_does_what_ours_does() -> None:
    jobs = _yaml(GITHUB / "workflows/ci.yml")["jobs"]
    commands = [step["run"] for step in jobs["test"]["steps"] if "run" in step]
    assert commands == [".ci/run"]
    assert set(jobs["test"]["strategy"]["matrix"]["python"]) == _pythons()
    assert jobs["test"]["timeout-minutes"] == 90
    ours = (ROOT / ".ci/run").read_text()
    assert "\nmake test\n" in ours
    assert ours.endswith("make long\n")


@pytest.mark.parametrize("path", sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")), ids=str)
def test_issue_templates_are_forms(path: Path) -> None:
    form = _yaml(path)
    if path.stem == "config":
        return
    assert {"name", "description", "body"} <= form.keys()
    ids = [field["id"] for field in form["body"]]
    assert len(set(ids)) == len(ids) > 0
    assert all(field["attributes"]["label"] for field in form["body"])


def test_the_benchmark_history_has_its_columns() -> None:
    from cpn.benchmark.report import HISTORY_COLUMNS  # noqa: PLC0415 - torch takes seconds

    header, *lines = (ROOT / "docs/benchmark_history.csv").read_text().splitlines()
    assert tuple(header.split(",")) == HISTORY_COLUMNS
    assert lines
