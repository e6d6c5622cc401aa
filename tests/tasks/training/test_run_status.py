import json
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from cpn.engine.training_state import Progress
from cpn.errors import UserError
from cpn.process.interruption import Interrupted
from cpn.tasks.training import run_status
from cpn.tasks.training.run_status import RunStatus, sole_writer


def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def _end_with(path: Path, error: BaseException) -> dict[str, Any]:
    with pytest.raises(type(error)), RunStatus(path, Progress(epoch=2, step=30)).told():
        raise error
    return _read(path)


def test_done(tmp_path: Path) -> None:
    path, progress = tmp_path / "status.json", Progress()
    with RunStatus(path, progress).told():
        assert _read(path)["state"] == "running"
        progress.epoch, progress.step = 3, 36
    found = _read(path)
    assert (found["state"], found["epoch"], found["step"]) == ("done", 3, 36)
    assert found["pid"] > 0
    assert found["message"] == ""


def test_preempted(tmp_path: Path) -> None:
    found = _end_with(tmp_path / "status.json", Interrupted("stopped as asked after step 30"))
    assert (found["state"], found["step"]) == ("preempted", 30)
    assert found["message"] == "stopped as asked after step 30"


@pytest.mark.parametrize("error", [UserError("no room\nat all"), KeyboardInterrupt("no room")])
def test_failed(tmp_path: Path, error: BaseException) -> None:
    found = _end_with(tmp_path / "status.json", error)
    assert found["state"] == "failed"
    assert found["message"] == f"{type(error).__name__}: no room"


def test_a_full_disk_does_not_hide_why_a_run_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    status = RunStatus(tmp_path / "status.json", Progress())

    def full(path: Path, _document: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    def run() -> None:
        with status.told():
            monkeypatch.setattr(run_status, "write_json", full)
            raise UserError("no room")

    with pytest.raises(UserError, match="no room"):
        run()
    assert f"the run is failed, but {status.path}: No space left on device" in caplog.text


def test_a_second_process_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_status, "LOCK_SECONDS", 0.0)
    run, status = tmp_path / "runs" / "a", tmp_path / "runs" / "a" / "status.json"
    with sole_writer(run, status):
        assert not run.exists()
    RunStatus(status, Progress()).write("running")
    with FileLock(tmp_path / "runs" / ".a.lock"):
        pid = _read(status)["pid"]
        with (
            pytest.raises(
                UserError, match=rf"runs/a \(process {pid} on .+\); wait for it, stop it"
            ),
            sole_writer(run, status),
        ):
            pass
    with FileLock(tmp_path / "runs" / ".a.lock"):
        status.write_text("torn")
        with (
            pytest.raises(UserError, match=r"is training .*runs/a; wait"),
            sole_writer(run, status),
        ):
            pass
    with sole_writer(run, status):
        pass
