"""A study whose seeds are jobs of a launcher: `scripts/ablate.py -m hydra/launcher=...`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = str(ROOT / "scripts" / "ablate.py")


@pytest.mark.long
def test_one_job_per_seed_works_on_one_study(tiny_overrides: list[str], tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="extra slurm")
    shared = [text for text in tiny_overrides if not text.startswith("run.")]
    command = [sys.executable, SCRIPT, "-m", "hydra/launcher=submitit_local", *shared]
    command += ["study=pyramid_levels", "study.only=[C5]", "study.seeds=[0],[1]"]
    command += ["study.timing_steps=1", "study.jobs=1", "study.resamples=5", "engine.epochs=1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, f"out={tmp_path / 's'}"],
        env=environment,
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    ledger = json.loads((tmp_path / "s/pyramid_levels/ledger.json").read_bytes())
    found = {(run["variant"], run["seed"]): run["state"] for run in ledger["runs"]}
    assert found == {(name, seed): "done" for name in ("C5", "C2-C5") for seed in (0, 1)}
    assert len({run["process"] for run in ledger["runs"]}) == 2, "each job led its own seed"
    logs = sorted(tmp_path.glob("runs/multirun/*/.submitit/*/*_log.err"))
    assert all("2 of 2 runs ended" in log.read_text() for log in logs)


@pytest.mark.long
def test_what_is_wrong_in_a_job_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="extra slurm")
    command = [sys.executable, SCRIPT, "-m", "hydra/launcher=submitit_local"]
    command += ["study=pyramid_levels", "study.seeds=[0]", "data.train.images=nowhere"]
    done = subprocess.run(
        [*command, "data.train.annotations=nowhere.json", "study.timing_steps=1"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    told = done.stderr.splitlines()[-1]
    assert told.startswith("error: job 0 (study=pyramid_levels study.seeds=[0] data.train.images=")
    assert "nowhere" in told
