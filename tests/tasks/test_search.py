"""A search: what it refuses, what it tries, how it goes on; most of it with a pretended worker."""

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

pytest.importorskip("optuna", reason="extra sweep")

from cpn.ablation.findings import Findings
from cpn.ablation.runner import StudyInterrupted
from cpn.command_line.composed import validate
from cpn.config.schema import TrainConfig
from cpn.config.search_schema import SearchConfig
from cpn.config.study_schema import AblateConfig
from cpn.config.validation import ConfigError
from cpn.errors import UserError
from cpn.process.interruption import STOP
from cpn.tasks.ablation import search_leader
from cpn.tasks.ablation.subjects import POSES
from cpn.tasks.search import OWN_KEYS, search

ROOT = Path(__file__).parents[2]
LR = "space={optimizer.lr: {low: 1e-3, high: 1e-1, log: true}}"
Search = Callable[..., Findings]


class Composer:
    def __init__(self, given: Sequence[str]) -> None:
        self.given = list(given)

    def __call__(self, overrides: Sequence[str]) -> TrainConfig:
        return validate(compose("train", list(overrides)), TrainConfig)


def compose_study(overrides: Sequence[str]) -> AblateConfig:
    return validate(compose("ablate", list(overrides)), AblateConfig)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "studies"


@pytest.fixture
def search_for(
    tiny_overrides: list[str], out: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Search]:
    """Searches with the pretended worker, on the tiny config."""
    pretended = replace(POSES, worker="tests.tasks.pretended_worker")
    monkeypatch.setattr("cpn.tasks.search.POSES", pretended)
    monkeypatch.setattr(search_leader, "LOOK_SECONDS", 0.0)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    shared = [text for text in tiny_overrides if not text.startswith("run.")]

    def run(*overrides: str) -> Findings:
        given = [*shared, f"out={out}", *overrides]
        with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            config = validate(compose("search", given), SearchConfig)
            return search(config, Composer(given), compose_study)

    yield run
    STOP.signal = None


def test_the_best_is_found_and_told_with_its_command(search_for: Search, out: Path) -> None:
    found = search_for("studies=[pyramid_levels]", LR, "trials=6", "search.jobs=3")
    assert len(found.done) == 6
    assert [trial.ap for trial in found.ranked] == sorted(
        (trial.ap for trial in found.trials if trial.ap is not None), reverse=True
    )
    best = found.done[0]
    assert best.ap == pytest.approx(0.9 - float(best.values["optimizer.lr"]))
    assert set(found.importances) == {"pyramid_levels", "optimizer.lr"}
    told = (out / "search" / "table.md").read_text()
    assert "6 of 6 trials: 6 done." in told
    assert "This AP is optimistic: it is the highest of 6" in told
    assert "Importance for being among the best (PED-ANOVA): " in told
    commands = [shlex.split(line) for line in told.splitlines() if line.startswith("    python")]
    assert [command[1] for command in commands] == ["scripts/train.py", "scripts/ablate.py"]
    assert set(best.overrides) <= set(commands[0])
    rows = list(csv.DictReader((out / "search" / "table.csv").read_text().splitlines()))
    assert float(rows[0]["AP"]) == best.ap
    assert rows[0]["training"] == best.training


def test_the_command_that_confirms_is_a_study(search_for: Search, out: Path) -> None:
    found = search_for("studies=[pyramid_levels]", "trials=4")
    told = (out / "search" / "table.md").read_text()
    arguments = shlex.split(re.findall(r"    python scripts/ablate.py (.*)", told)[0])
    assert arguments[:2] == ["--config-dir", f"{out}/search/configs"]
    assert "study.seeds=[1,2,3]" in arguments
    study = yaml.safe_load((out / "search/configs/study/search_confirmed.yaml").read_text())
    # The configuration as given has all levels, so only three others are left to compare with it.
    assert list(study["variants"]) == ["given", "best", "second", "third"]
    own = [trial for trial in found.done if "model.pyramid.levels=[2,3,4,5]" not in trial.overrides]
    best = study["variants"]["best"]["overrides"]
    assert best == list(own[0].overrides)
    with initialize_config_dir(str(out / "search/configs"), version_base="1.3"):
        compose("study/search_confirmed")


def test_it_goes_on_and_nothing_is_trained_twice(search_for: Search, out: Path) -> None:
    first = search_for("studies=[pyramid_levels]", LR, "trials=3")
    again = search_for("studies=[pyramid_levels]", LR, "trials=5")
    assert again.trials[:3] == first.trials
    assert len(again.done) == 5
    begun = list(out.glob("trainings/*/begun.txt"))
    assert len(begun) == 5
    assert all(file.read_text() == "begun\n" for file in begun)


def test_a_space_that_is_exhausted_ends_the_search(search_for: Search, out: Path) -> None:
    found = search_for("studies=[pyramid_levels]", "trials=9")
    assert len(found.done) == 4
    assert all(trial.state in {"done", "repeated"} for trial in found.trials)
    assert len(list(out.glob("trainings/*/begun.txt"))) == 4


def test_a_combination_that_contradicts_itself_is_not_trained(
    search_for: Search, out: Path
) -> None:
    space = "space={model.pyramid.levels: {choices: [[3,4,5]]}}"
    found = search_for("studies=[pyramid_levels]", space, "trials=9")
    assert {t.values["pyramid_levels"] for t in found.done} == {"C3-C5"}
    told = {trial.message for trial in found.trials if trial.state == "infeasible"}
    assert (
        "model.pyramid.levels: pyramid_levels sets model.pyramid.levels=[5], "
        "model.pyramid.levels sets model.pyramid.levels=[3,4,5]"
    ) in told
    composed = search_for(
        *("studies=[pyramid_levels,refine_levels]", "trials=2", "search.name=two")
    )
    assert any("model.refine.levels" in trial.message for trial in composed.trials)
    assert len(composed.done) == 2


@pytest.mark.long
def test_a_hopeless_training_is_given_up(search_for: Search, out: Path) -> None:
    options = ["engine.epochs=4", "engine.evaluate_every=1", "engine.log_every=7"]
    found = search_for(
        *("studies=[pyramid_levels]", LR, "trials=3", "search.pruner=halving", "search.jobs=1"),
        *options,
    )
    assert [trial.state for trial in found.trials] == ["done", "pruned", "pruned"]
    assert {trial.ap for trial in found.trials[1:]} == {0.01}
    assert "3 of 3 trials: 1 done, 2 pruned." in found.markdown()


def test_a_failed_training_is_a_row_and_three_end_the_search(search_for: Search, out: Path) -> None:
    some = "space={optimizer.lr: {choices: [0.1, 0.9]}}"
    found = search_for("studies=[]", some, "trials=2", "search.jobs=1")
    assert [trial.state for trial in found.ranked] == ["done", "failed"]
    assert found.ranked[1].message.startswith("training diverged; see ")
    worse = "space={optimizer.lr: {low: 0.6, high: 0.9}}"
    with pytest.raises(UserError, match="3 trainings in a row failed, the last one: training div"):
        search_for("studies=[]", worse, "trials=9", "search.name=worse")
    one = "space={optimizer.lr: {choices: [0.9]}}"
    with pytest.raises(UserError, match="no trial came to an AP; training diverged"):
        search_for("studies=[]", one, "trials=9", "search.name=one")


@pytest.mark.long
def test_another_search_of_the_same_name_is_refused(search_for: Search) -> None:
    search_for("studies=[pyramid_levels]", "trials=1")
    for other in (["studies=[refine_levels]"], ["studies=[pyramid_levels]", "search.seed=1"]):
        with pytest.raises(UserError, match=r"trials.log is of another search .* search.name="):
            search_for(*other, "trials=1")
    search_for("studies=[pyramid_levels]", "trials=1", "data.workers=0", "engine.log_every=3")


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["studies=[]"], "nothing varies: give studies="),
        (["studies=[a,a]"], "studies are repeated"),
        (["studies=[pyramid]"], r"studies\[0\]: study: no option pyramid|'study/pyramid'"),
        ([LR.replace("lr", "lrr", 1)], "optimizer.lrr=0.001: .*unknown key|Could not override"),
        ([LR.replace("1e-3", "-1").replace("log", "step").replace("true", "1")], "got -1, allowed"),
        (["space={optimizer.lr: {low: 2, high: 1}}"], "low=2 is not below high=1"),
        (["space={optimizer.lr: {low: 1}}"], "space.optimizer.lr: needs choices, or low and high"),
        (["space={optimizer.lr: {low: 0, high: 1, log: true}}"], "log=true needs low above 0"),
        (["space={optimizer.lr: {choices: [1], low: 0}}"], "choices go without low"),
        (["space={seed: {low: 1, high: 2}}"], "seed=1: not here"),
        (["studies=[pyramid_levels]", "seed=1"], "seed=1: not here: .*search.seed=1"),
        ([LR, "search.pruner=halving", "engine.evaluate_every=9"], "needs AP on the way"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_trained(
    search_for: Search, out: Path, overrides: list[str], told: str
) -> None:
    with pytest.raises(Exception, match=told) as error:
        search_for(*overrides)
    assert isinstance(error.value, ConfigError) or "study/pyramid" in told or "lrr" in told
    assert not out.exists()


def test_asked_to_stop_it_goes_on_where_it_was(search_for: Search, out: Path) -> None:
    STOP.note(signal.SIGTERM)
    with pytest.raises(StudyInterrupted, match="stopped as asked"):
        search_for("studies=[pyramid_levels]", "trials=2")
    STOP.signal = None
    assert len(search_for("studies=[pyramid_levels]", "trials=2").done) == 2


def test_keys_of_its_own_are_not_handed_to_trainings() -> None:
    own = set(SearchConfig.model_fields) - set(TrainConfig.model_fields)
    assert own == set(OWN_KEYS)


@pytest.mark.long
def test_a_killed_search_goes_on_with_the_trial_in_flight(
    tiny_overrides: list[str], tmp_path: Path
) -> None:
    """The real program and worker: kill -9 in the first training, then the same command."""
    shared = [text for text in tiny_overrides if not text.startswith("run.")]
    command = [sys.executable, str(ROOT / "scripts" / "search.py"), *shared]
    command += ["studies=[pyramid_levels]", "trials=2", "search.jobs=1", f"out={tmp_path}/s"]
    command += ["engine.epochs=5", "engine.evaluate_every=5", "engine.save_every_steps=2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as leader:
        while not list(tmp_path.glob("s/trainings/*/checkpoints/*")):
            assert leader.poll() is None, "it was done before it could be killed"
            time.sleep(0.05)
        leader.kill()
    (training,) = tmp_path.glob("s/trainings/*/")
    journal = (tmp_path / "s/search/trials.log").read_text().splitlines()
    states = [json.loads(line) for line in journal]
    assert sum("state" in each and each["op_code"] == 6 for each in states) == 0, "none is told"
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "trial 0 begins" in done.stderr
    assert "2 of 2 trials: 2 done" in done.stderr
    assert re.search(r"resumed .* after step", training.with_suffix(".log").read_text())
