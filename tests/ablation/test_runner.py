import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from filelock import FileLock

from cpn.ablation.runner import Job, JobRunner, StudyInterrupted, last_line, was_stopped

PLACES = [{"PLACE": "0"}, {"PLACE": "1"}]


class Study:
    """Jobs that write a file each; a job is done when its file is there."""

    def __init__(self, folder: Path, words: Sequence[str]) -> None:
        self.folder = folder
        self.words = {f"job{number}": word for number, word in enumerate(words)}
        self.ended: dict[str, int] = {}
        self.prepared: list[str] = []

    def out(self, name: str) -> Path:
        return self.folder / f"{name}.out"

    def job(self, name: str) -> Job:
        stem = self.folder / name
        module = "tests.ablation.jobs"
        order, log, claim = (stem.with_suffix(x) for x in (".order", ".log", ".claim"))
        return Job(name, module, order, log, claim)

    def waiting(self) -> list[Job]:
        left = [n for n in self.words if not self.out(n).exists() and n not in self.ended]
        return [self.job(name) for name in left]

    def prepare(self, job: Job) -> bool:
        if self.out(job.name).exists():
            return False
        self.prepared.append(job.name)
        job.order.write_text(f"{self.words[job.name]} {self.out(job.name)}")
        return True

    def end(self, job: Job, code: int, _seconds: float) -> None:
        self.ended[job.name] = code

    def run(self, stop: object = None, places: Sequence[dict[str, str]] = PLACES) -> None:
        stop_requested = stop if callable(stop) else bool
        runner = JobRunner(places, stop_requested)
        runner.run(self.waiting, prepare=self.prepare, ended=self.end)


def test_every_job_runs_once_in_a_place_of_its_own(tmp_path: Path) -> None:
    study = Study(tmp_path, ["write"] * 4)
    study.run()
    assert study.ended == {f"job{n}": 0 for n in range(4)}
    assert sorted(study.prepared) == [f"job{n}" for n in range(4)]
    assert {study.out(f"job{n}").read_text() for n in range(4)} == {"0", "1"}


def test_a_failed_job_does_not_keep_the_others_back(tmp_path: Path) -> None:
    study = Study(tmp_path, ["fail", "write"])
    study.run()
    assert study.ended == {"job0": 2, "job1": 0}
    assert last_line(study.job("job0").log) == "it failed"
    assert not was_stopped(2)


def test_what_another_process_has_claimed_is_left_to_it(tmp_path: Path) -> None:
    """The other one lets go of job0 only after it has done it."""
    study = Study(tmp_path, ["write", "write"])
    other = FileLock(study.job("job0").claim)
    other.acquire()

    def done_meanwhile() -> bool:
        if study.ended:
            study.out("job0").write_text("by the other")
            other.release()
        return False

    study.run(done_meanwhile)
    assert study.prepared == ["job1"]


def test_running_jobs_are_asked_to_stop_and_awaited(tmp_path: Path) -> None:
    study = Study(tmp_path, ["wait", "wait", "write"])

    def both_wait() -> bool:
        return all(study.out(name).exists() for name in ("job0", "job1"))

    with pytest.raises(StudyInterrupted, match="2 running jobs saved"):
        study.run(both_wait)
    assert {name: was_stopped(code) for name, code in study.ended.items()} == {
        "job0": True,
        "job1": True,
    }
    with FileLock(study.job("job0").claim, timeout=0):
        pass  # nobody holds it any more


def test_jobs_die_with_the_leading_process(tmp_path: Path) -> None:
    """Killed, it cannot tell them; the system does, and their claims are free."""
    text = (
        "import sys; from pathlib import Path; from tests.ablation.test_runner import Study; "
        "Study(Path(sys.argv[1]), ['wait']).run()"
    )
    study = Study(tmp_path, ["wait"])
    leader = subprocess.Popen([sys.executable, "-c", text, str(tmp_path)])
    while not (study.out("job0").exists() and study.out("job0").read_text()):
        time.sleep(0.05)
    process = int(study.out("job0").read_text())
    leader.kill()
    leader.wait()
    with FileLock(study.job("job0").claim, timeout=10):
        pass
    for _ in range(200):
        if not _is_alive(process):
            return
        time.sleep(0.05)
    raise AssertionError("the job outlived its leader")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_the_last_line_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_line(log) == ""
    log.write_text("error: first\nTraceback\nKeyError: 1\n\n")
    assert last_line(log) == "first"
    log.write_text("Traceback\nKeyError: 1\n\n")
    assert last_line(log) == "KeyError: 1"
