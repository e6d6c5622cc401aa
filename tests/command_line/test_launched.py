"""Jobs of a multirun in other processes, through submitit's launchers."""

import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cpn.command_line import launched
from cpn.command_line.launched import ARRIVED, JobEnd, missing_plugin, require_all_well
from cpn.errors import UserError

ROOT = Path(__file__).parents[2]
PROGRAM = """
import os, signal
from pathlib import Path
from pydantic import BaseModel, ConfigDict
from cpn.command_line.load import script

class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    do: str
    out: str | None

@script("go", Config, tabulated="TABULATED" in os.environ)
def main(config: Config) -> dict[str, float]:
    from cpn.errors import UserError
    from cpn.process.interruption import STOP, Interrupted, listen_for_stop
    listen_for_stop()
    print("ran", config.do)
    if config.do == "refuse":
        raise UserError("this cannot be used")
    if config.do == "bug":
        raise ValueError("a bug of ours")
    if config.do == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if config.do == "stop":
        os.kill(os.getpid(), signal.SIGTERM)
    if config.do == "time_up" and not Path("again").exists():
        Path("again").touch()
        os.kill(os.getpid(), signal.SIGUSR2)
    if STOP.is_made():
        raise Interrupted("stopped at step 3")
    return {"AP": float(len(config.do))}

if __name__ == "__main__":
    main()
"""
Go = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def go(tmp_path: Path) -> Go:
    """Runs the program under --multirun with a launcher, in its own folder."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="extra slurm")
    for name in ("scripts", "configs", "bin"):
        (tmp_path / name).mkdir()
    program = tmp_path / "scripts" / "go.py"
    program.write_text(PROGRAM)
    (tmp_path / "configs" / "base.yaml").write_bytes((ROOT / "configs/base.yaml").read_bytes())
    (tmp_path / "configs" / "go.yaml").write_text("defaults: [base, _self_]\ndo: x\nout: null\n")

    def run(
        *arguments: str, launcher: str = "submitit_local", **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        own = {"PYTHONPATH": str(ROOT), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
        return subprocess.run(
            [sys.executable, str(program), "-m", f"hydra/launcher={launcher}", *arguments],
            check=False,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | own | environment,
        )

    return run


def _logs(folder: Path, kind: str) -> str:
    files = sorted(folder.glob(f"runs/multirun/*/.submitit/*/*_log.{kind}"))
    return "".join(file.read_text() for file in files)


def test_every_job_runs_and_what_failed_is_told_in_one_line(go: Go, tmp_path: Path) -> None:
    done = go("do=x,refuse,y")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: job 1 (do=refuse): this cannot be used"
    assert "Traceback" not in done.stderr
    assert sorted(re.findall("ran .*", _logs(tmp_path, "out"))) == ["ran refuse", "ran x", "ran y"]
    assert "error: this cannot be used" in _logs(tmp_path, "err")


def test_numbers_come_back_into_one_table(go: Go, tmp_path: Path) -> None:
    done = go("do=xx,refuse,y", "out=m.json", TABULATED="1")
    assert done.returncode == 2
    rows = (tmp_path / "m_table.csv").read_text().splitlines()
    assert rows == ["do,AP,problem", "xx,2.0,", "refuse,,this cannot be used", "y,1.0,"]


def test_a_stopped_job_is_told_and_leaves_with_75(go: Go) -> None:
    done = go("do=stop")
    assert done.returncode == 75
    assert done.stderr.splitlines()[-1].startswith("job 0 (do=stop): stopped at step 3; the same")


def test_a_job_whose_time_is_up_saves_its_state_and_is_begun_again(go: Go, tmp_path: Path) -> None:
    assert go("do=time_up").returncode == 0
    assert "stopped at step 3" in _logs(tmp_path, "err")
    assert _logs(tmp_path, "out").count("ran time_up") == 2


@pytest.mark.long
def test_a_job_that_died_and_a_bug_are_told(go: Go, tmp_path: Path) -> None:
    died = go("do=die", "hydra.launcher.timeout_min=5")
    assert died.returncode == 2
    assert re.fullmatch(
        r"error: hydra/launcher: Job \d+ .* has not produced any output \(state: \w+\)",
        died.stderr.splitlines()[-1],
    )
    bug = go("do=bug")
    assert bug.returncode == 1
    assert bug.stderr.endswith("ValueError: a bug of ours\n")
    # cloudpickle 3.1.3 names no file for what is in __main__: its line of source is not shown.
    where = r", line \d+, in main\n( +raise .*\n)?ValueError: a bug of ours\n"
    assert re.search(where, _logs(tmp_path, "err"))


def test_without_slurm_one_line_says_so(go: Go) -> None:
    done = go("do=x", launcher="submitit_slurm")
    assert done.returncode == 2
    assert done.stderr == (
        'error: hydra/launcher: Could not detect "srun", are you indeed on a slurm cluster?\n'
    )


def test_what_sbatch_gets_and_says(go: Go, tmp_path: Path) -> None:
    """There is no cluster here: stand-ins for its programs keep the script, and refuse it."""
    for name, text in {
        "srun": "exit 0",
        "sbatch": f'cp "$1" {tmp_path}/job.sh; echo "sbatch: error: invalid partition" >&2; exit 1',
    }.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    asked = ["partition='g p; ls'", "gpus_per_node=2", "timeout_min=90", "cpus_per_task=8"]
    done = go("do=x,y", *(f"hydra.launcher.{a}" for a in asked), launcher="submitit_slurm")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "error: hydra/launcher: sbatch: error: invalid partition"
    )
    job = tmp_path / "job.sh"
    assert subprocess.run(["bash", "-n", str(job)], check=False).returncode == 0
    lines = job.read_text().splitlines()
    expected = ["--array=0-1%2", "--partition='g p; ls'", "--gpus-per-node=2", "--time=90"]
    expected += ["--cpus-per-task=8", "--signal=USR2@120", "--job-name=go"]
    assert {f"#SBATCH {option}" for option in expected} <= set(lines)
    commands = [line for line in lines if line and not line.startswith("#")]
    assert commands[0] == "export SUBMITIT_EXECUTOR=slurm"
    assert re.match(
        rf"srun .* {re.escape(sys.executable)} -u -m submitit\.core\._submit ", commands[1]
    )
    assert len(commands) == 2


@pytest.fixture
def _nothing_arrived() -> Iterator[None]:
    ARRIVED.clear()
    yield
    ARRIVED.clear()


@pytest.mark.usefixtures("_nothing_arrived")
def test_an_end_arrives_as_it_was_sent() -> None:
    end = JobEnd(3, ("a=1",), Path("t"), {"AP": 0.5}, "why", stopped=True)
    assert not ARRIVED
    assert pickle.loads(pickle.dumps(end)) == end
    assert dict(ARRIVED) == {3: end}


def test_failures_are_told_together() -> None:
    ends = [JobEnd(n, (f"a={n}",), problem="bad" * n, stopped=n == 3) for n in range(4)]
    with pytest.raises(UserError, match=r"^2 of 4 jobs failed\n  job 1 \(a=1\): bad\n  job 2"):
        require_all_well(ends)
    require_all_well(ends[::3])


@pytest.mark.parametrize("error", [None, ModuleNotFoundError("hydra_plugins")])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
    def find(name: str) -> None:
        if error is not None:
            raise error

    monkeypatch.setattr(launched, "find_spec", find)
    problem = missing_plugin("hydra/launcher=submitit_slurm")
    assert str(problem) == (
        "hydra/launcher=submitit_slurm: needs the extra slurm: pip install 'cpn-pose[slurm]'"
    )
    assert missing_plugin("hydra/launcher=basic") is None
    assert missing_plugin("model.launcher=submitit_slurm") is None
