"""Real trainings under torchrun that are stopped, or lose a rank: the guide's own commands."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.whole_runs import ROOT, digest, make_people, run_overrides, torchrun

TIMEOUT_SECONDS = 120.0
OPTIONS = ("--standalone", "--nproc-per-node=2")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preemption")
    make_people(folder / "data")
    return folder


@pytest.fixture(scope="module")
def expected(folder: Path) -> str:
    """What the run comes to that nobody disturbs."""
    assert _start(folder, "reference").wait(TIMEOUT_SECONDS) == 0
    return digest(folder / "runs" / "reference")


def _start(folder: Path, name: str, *options: str, fault: str = "") -> subprocess.Popen[bytes]:
    return torchrun(
        [*OPTIONS, *options],
        run_overrides(folder, name),
        log=folder / f"{name}.log",
        environment={"CPN_FAULT": fault},
    )


def _status(folder: Path, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "runs" / name / "status.json").read_text())
    return document


def _wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def _ask_to_stop(folder: Path, number: signal.Signals) -> None:
    """Starts a run, asks it to stop when two steps are told, and sees that it does."""
    name = number.name
    process = _start(folder, name)
    log = folder / "runs" / name / "metrics.jsonl"
    _wait_until(lambda: log.exists() and log.read_text().count("train") >= 2)
    process.send_signal(number)
    assert process.wait(TIMEOUT_SECONDS) == 1  # torchrun's own code; status.json says more
    status = _status(folder, name)
    assert status["state"] == "preempted"
    assert re.search(rf"after step {status['step']}; its state is .*\.ckpt$", status["message"])


def test_asked_to_stop_a_run_keeps_its_state(folder: Path) -> None:
    _ask_to_stop(folder, signal.SIGTERM)


@pytest.mark.long
def test_asked_to_stop_a_run_goes_on_as_if_nothing_had_been(folder: Path, expected: str) -> None:
    name = signal.SIGUSR1.name
    _ask_to_stop(folder, signal.SIGUSR1)
    assert _start(folder, name).wait(TIMEOUT_SECONDS) == 0
    assert _status(folder, name)["state"] == "done"
    assert digest(folder / "runs" / name) == expected


@pytest.mark.long
def test_one_rank_that_is_asked_stops_all_at_the_same_step(folder: Path, expected: str) -> None:
    process = _start(folder, "one_rank", fault="before_step@14:1:term")
    assert process.wait(TIMEOUT_SECONDS) == 1
    status = _status(folder, "one_rank")
    assert (status["state"], status["step"]) == ("preempted", 14)
    assert _start(folder, "one_rank").wait(TIMEOUT_SECONDS) == 0
    assert digest(folder / "runs" / "one_rank") == expected


@pytest.mark.long
def test_a_killed_rank_is_restarted_and_nothing_is_lost(folder: Path, expected: str) -> None:
    process = _start(folder, "elastic", "--max-restarts=3", fault="before_step@18:1")
    assert process.wait(TIMEOUT_SECONDS) == 0
    text = (folder / "elastic.log").read_text()
    assert text.count("precision fp32") == 2  # said by each start: one restart
    assert "error: rank 0 lost rank 1 at step 18 (" in text
    assert "resumed" in text
    assert "after step 16 (1 epochs)" in text
    assert digest(folder / "runs" / "elastic") == expected


def test_the_guides_shell_commands_survive_a_stop() -> None:
    text = (ROOT / "docs" / "distributed.md").read_text().partition("\n## Torchrun\n")[2]
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    assert sum("torchrun" in block for block in blocks) == 3
    assert any("#SBATCH" in block and "--requeue" in block for block in blocks)
    for block in blocks:
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)
    for block in (each for each in blocks if "torchrun" in each):
        assert "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1" in block
        assert "SIGUSR1" in block
