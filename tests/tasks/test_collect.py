"""Runs that are trained already become a study; their evaluation is made up."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cpn.config.study_schema import CollectConfig
from cpn.errors import UserError
from cpn.tasks.collect import collect
from tests.tasks.ablation.studies import Composed

MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """`make_run("a", "seed=1")` is a run that has come to its end."""

    def make(name: str, *overrides: str, state: str = "done") -> Path:
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        given = [f"run.root={tmp_path / 'runs'}", f"run.name={name}", *overrides]
        config = Composed([])(given).model_dump(mode="json")
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        (folder / "status.json").write_text(json.dumps({"state": state}))
        (folder / "model.safetensors").touch()
        return folder

    return make


def config(tmp_path: Path, **changes: Any) -> CollectConfig:
    values: dict[str, Any] = {
        "runs": [str(tmp_path / "runs" / "*")],
        "baseline": None,
        "name": "c",
        "title": "t",
        "out": str(tmp_path / "studies"),
        "jobs": 2,
        "timing_steps": 1,
        "confidence": 0.95,
        "resamples": 10,
    }
    return CollectConfig(**{**values, **changes})


@pytest.mark.usefixtures("started")
def test_runs_are_grouped_by_what_varies(make_run: MakeRun, tmp_path: Path) -> None:
    for number, (epochs, seed) in enumerate([(2, 0), (2, 1), (1, 0)]):
        make_run(f"cpn_{number}", f"engine.epochs={epochs}", f"seed={seed}", "data.workers=1")
    found = collect(config(tmp_path, baseline="epochs-1"))
    assert {v.name: (v.seeds, v.overrides) for v in found.variants} == {
        "epochs-2": ((0, 1), ("engine.epochs=2",)),
        "epochs-1": ((0,), ("engine.epochs=1",)),
    }
    gap = found.variants[0].gap
    assert gap is not None
    assert gap.value == pytest.approx(0.1005)
    assert found.variants[0].curves[1].ap == ((2.0, 0.1),)
    assert (tmp_path / "studies" / "c" / "study.html").is_file()


def test_lists_and_keys_that_end_alike_make_names(make_run: MakeRun, tmp_path: Path) -> None:
    make_run("a", "model.pyramid.levels=[4,5]", "optimizer.name=sgd")
    make_run("b", "model.pyramid.levels=[5]", "optimizer.name=adam", "schedule.name=cosine")
    with pytest.raises(UserError) as error:
        collect(config(tmp_path, baseline="x"))
    assert str(error.value) == (
        "baseline=x: no such variant; there are "
        "optimizer.name-sgd_schedule.name-step_levels-4-5, "
        "optimizer.name-adam_schedule.name-cosine_levels-5"
    )


def test_a_run_that_is_not_done_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    make_run("a", state="preempted")
    with pytest.raises(UserError, match=r"runs/a is not trained to its end"):
        collect(config(tmp_path))


def test_the_same_variant_and_seed_twice_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    make_run("a")
    make_run("b")
    with pytest.raises(UserError, match=r"runs/a and .*runs/b are the same variant and seed"):
        collect(config(tmp_path))


def test_what_is_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no such folder"):
        collect(config(tmp_path))
    (tmp_path / "runs" / "x").mkdir(parents=True)
    with pytest.raises(UserError, match=r"runs/x is not the directory of a run"):
        collect(config(tmp_path))
