"""Whole studies: processes, ledger, table; the trainings are made up but for the last test."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cpn.ablation.ledger import Ledger
from cpn.config.validation import ConfigError
from cpn.errors import UserError
from cpn.tasks.ablate import ablate
from tests.tasks.ablation.studies import Started

ROOT = Path(__file__).parents[2]
TWO = {"base": [], "less": ["engine.epochs=2"]}


def states(studies: Path, name: str = "s") -> dict[str, str]:
    entries = Ledger(studies / name).entries().values()
    return {f"{e.variant}{e.seed}": e.state for e in entries}


def trained(studies: Path) -> int:
    """How many trainings there have been, over all starts."""
    files = (studies / "trainings").glob("*/trained")
    return sum(len(file.read_text().splitlines()) for file in files)


def test_a_study_is_run_tabled_and_never_trained_twice(started: Started, tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    found = ablate(*started(TWO, seeds=[0, 1]))
    assert found is not None
    assert found.is_complete
    assert states(studies) == dict.fromkeys(["base0", "base1", "less0", "less1"], "done")
    base, less = found.variants
    assert base.metrics["AP"].value == pytest.approx(0.3105)
    assert less.gap is not None
    assert less.gap.value == pytest.approx(-0.1)
    assert less.gap.p_value < 0.001
    assert set(less.keypoints) == {"nose", "left_eye"}
    assert base.curves[0].loss == ((1.5, 0.5), (3.0, 0.25))
    assert base.curves[1].ap == ((3.0, 0.1),)
    assert base.cost is not None
    assert found.conclusions[0] == "Worse than base by more than chance explains: less."
    assert {file.name for file in (studies / "s").glob("*.*")} >= {
        "ledger.json",
        "study.html",
        "table.csv",
        "table.md",
    }
    again = ablate(*started(TWO, seeds=[0, 1, 2]))
    assert again is not None
    assert again.variants[0].seeds == (0, 1, 2)
    assert trained(studies) == 6


def test_nothing_is_begun_if_one_variant_is_wrong(started: Started, tmp_path: Path) -> None:
    variants = {f"v{number}": [f"engine.epochs={number}"] for number in range(1, 8)}
    with pytest.raises(ConfigError, match=r"study.variants.v7.overrides: engine.epochs: got -7"):
        ablate(*started(variants | {"v7": ["engine.epochs=-7"]}))
    assert not (tmp_path / "studies").exists()


def test_a_variant_that_cannot_be_timed_stops_the_study(started: Started, tmp_path: Path) -> None:
    variants = {"base": [], "bad": ["engine.batch_size=9"], "x": ["engine.batch_size=9", "loss=l2"]}
    with pytest.raises(
        UserError, match=r"cannot be timed: bad, x: data.train.images: there is no folder"
    ):
        ablate(*started(variants))
    assert trained(tmp_path / "studies") == 0


@pytest.mark.long
def test_a_failed_run_is_told_and_tried_again(started: Started, tmp_path: Path) -> None:
    variants = {**TWO, "bad": ["engine.batch_size=7"]}
    for attempt in (1, 2):
        with pytest.raises(UserError, match=r"1 of 3 runs failed, first bad with seed 0: training"):
            ablate(*started(variants, seeds=[0]))
        entry = Ledger(tmp_path / "studies" / "s").entries()["bad", 0]
        assert (entry.state, entry.attempts) == ("failed", attempt)
    assert "seed 0 failed: training diverged" in (tmp_path / "studies/s/table.md").read_text()
    assert trained(tmp_path / "studies") == 4


def test_a_dry_run_tells_what_it_would_cost(
    started: Started, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """3 epochs of 60 s, 4 evaluations of 6 s."""
    assert ablate(*started(TWO, "dry_run=true", seeds=[0], jobs=1)) is None
    told = capsys.readouterr().err
    assert "0:03:24" in told
    assert "2 runs of 2 variants, 2 trainings, 1 at a time: about 0:05:42 in all" in told
    assert not (tmp_path / "studies/s/ledger.json").exists()


def test_variants_of_one_training_train_once(started: Started, tmp_path: Path) -> None:
    found = ablate(*started({"dark": [], "argmax": ["decode=argmax"]}, seeds=[0, 1]))
    assert found is not None
    assert trained(tmp_path / "studies") == 2
    gap = found.variants[1].gap
    assert gap is not None
    assert gap.value == pytest.approx(-0.01)


def test_studies_share_their_trainings(started: Started, tmp_path: Path) -> None:
    ablate(*started(TWO, seeds=[0]))
    ablate(*started({"whole": [], "least": ["engine.epochs=1"]}, seeds=[0], name="other"))
    files = (tmp_path / "studies" / "trainings").glob("*/trained")
    assert sorted(len(file.read_text().splitlines()) for file in files) == [1, 1, 2]


def test_a_budget_is_told_in_the_table(started: Started, tmp_path: Path) -> None:
    """60 steps an epoch."""
    budget = {"steps": 120, "minutes": None, "halving": False}
    variants = {"less": ["engine.epochs=1"], "all": []}
    found = ablate(*started(variants, seeds=[0], budget=budget))
    assert found is not None
    assert {v.name: v.notes for v in found.variants} == {
        "less": (),
        "all": ("cut by the budget: 2 of 3 epochs",),
    }


@pytest.mark.long
def test_halving_cuts_the_worse_half(started: Started, tmp_path: Path) -> None:
    budget = {"steps": None, "minutes": None, "halving": True}
    variants = {f"v{n}": [f"engine.epochs={n}"] for n in (1, 2, 3, 4)}
    found = ablate(*started(variants, seeds=[0, 1], budget=budget, baseline="v1"))
    assert found is not None
    assert {v.name: len(v.seeds) for v in found.variants} == {"v1": 2, "v2": 1, "v3": 2, "v4": 2}
    assert found.variants[1].notes == ("cut by halving after 1 of 2 seeds: place 3 of 4",)
    assert states(tmp_path / "studies")["v21"] == "cut"


def test_another_configuration_needs_another_name(started: Started) -> None:
    ablate(*started(TWO, seeds=[0]))
    with pytest.raises(UserError, match=r"base with seed 0 was begun with another configuration"):
        ablate(*started(TWO, "engine.batch_size=8", seeds=[0]))


@pytest.mark.long
def test_a_budget_outlives_other_timings(started: Started, tmp_path: Path) -> None:
    """Two minutes and a half are two epochs of a minute; timed anew they might be one."""
    budget = {"steps": None, "minutes": 2.5, "halving": False}
    first = ablate(*started({"all": [], "l2": ["loss=l2"]}, seeds=[0], budget=budget))
    assert first is not None
    assert [variant.epochs for variant in first.variants] == [2, 2]
    with pytest.raises(UserError, match=r"begun with another configuration"):
        ablate(*started({"all": [], "l2": ["loss=l2"]}, "engine.batch_size=8", "dry_run=true"))
    for file in (tmp_path / "studies/s/costs").glob("*.json"):
        text = file.read_text()
        assert '"pace": [1.0, ' in text
        file.write_text(text.replace('"pace": [1.0, ', '"pace": [2.0, '))
    again = ablate(*started({"all": [], "l2": ["loss=l2"]}, seeds=[0, 1], budget=budget))
    assert again is not None
    assert [variant.epochs for variant in again.variants] == [2, 2]


@pytest.mark.long
def test_damaged_figures_are_made_again_and_told_meanwhile(
    started: Started, tmp_path: Path
) -> None:
    ablate(*started(TWO, seeds=[0]))
    figures = tmp_path / "studies/s/runs"
    (figures / "less_seed0" / "figures.npz").write_bytes(b"")
    lines = next((tmp_path / "studies/trainings").glob("*/metrics.jsonl"))
    lines.write_text(lines.read_text() + '{"kind": "tr')
    found = ablate(*started(TWO, seeds=[0], only=["base"]))
    assert found is not None
    assert not found.is_complete
    assert found.variants[1].notes == ("seed 0 is to be evaluated again",)
    whole = ablate(*started(TWO, seeds=[0]))
    assert whole is not None
    assert whole.is_complete
    assert trained(tmp_path / "studies") == 3


PROGRAM = [sys.executable, str(ROOT / "scripts" / "ablate.py"), "study=pyramid_levels"]


def program(overrides: list[str], studies: Path) -> "subprocess.Popen[str]":
    # One at a time: so many threads decide about the last digits.
    own = ["study.only=[C4-C5]", "study.seeds=[0]", "study.timing_steps=1", "study.jobs=1"]
    own += ["study.resamples=20", f"out={studies}"]
    shared = [text for text in overrides if not text.startswith("run.")]
    return subprocess.Popen(
        [*PROGRAM, *shared, *own],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.long
def test_a_killed_study_goes_on_and_comes_to_the_same(
    tiny_overrides: list[str], tmp_path: Path
) -> None:
    """Real trainings, killed when the first of two is done."""
    studies, killed = tmp_path / "studies", tmp_path / "killed"
    whole = program(tiny_overrides, studies)
    assert whole.communicate()[1].endswith(f"written: {studies / 'pyramid_levels'}\n")
    leader = program(tiny_overrides, killed)
    while "done" not in (now := states(killed, "pyramid_levels").values()):
        assert leader.poll() is None, leader.communicate()[1]
        time.sleep(0.02)
    leader.send_signal(signal.SIGKILL)
    leader.communicate()
    assert list(now).count("done") == 1
    resumed = program(tiny_overrides, killed)
    told = resumed.communicate()[1]
    assert resumed.returncode == 0, told
    assert "2 runs, 1 done" in told
    for folder in ("C4-C5_seed0", "C2-C5_seed0"):
        files = [root / "pyramid_levels" / "runs" / folder for root in (studies, killed)]
        results = [json.loads((file / "results.json").read_text()) for file in files]
        assert results[0] == results[1]


@pytest.mark.long
def test_a_study_that_is_asked_to_stop_says_how_it_goes_on(
    tiny_overrides: list[str], tmp_path: Path
) -> None:
    leader = program([*tiny_overrides, "engine.epochs=2000"], tmp_path)
    while "running" not in states(tmp_path, "pyramid_levels").values():
        assert leader.poll() is None, leader.communicate()[1]
        time.sleep(0.05)
    trainings = tmp_path / "trainings"
    while not list(trainings.glob("*/metrics.jsonl")):
        time.sleep(0.05)
    leader.send_signal(signal.SIGTERM)
    told = leader.communicate()[1]
    assert leader.returncode == 75
    assert told.splitlines()[-1].endswith("1 running job saved; the same command goes on")
    assert sorted(states(tmp_path, "pyramid_levels").values()) == ["planned", "stopped"]


def test_a_wrong_override_is_one_line_and_names_its_variant(tmp_path: Path) -> None:
    overrides = ['study.variants.C5.overrides=["model.pyramid.levls=[5]"]', f"out={tmp_path}"]
    ended = subprocess.run(
        [*PROGRAM, *overrides],
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(
        "error: study.variants.C5.overrides: model.pyramid.levls: unknown key (value [5]), did you "
        "mean model.pyramid.levels?"
    )
    assert list(tmp_path.iterdir()) == []
