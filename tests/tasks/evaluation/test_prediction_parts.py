"""An evaluation that dies goes on: what is in parts is not estimated again, and numbers agree."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cpn.config.evaluation_schema import DecodeOverrides, EvaluateConfig, PostprocessOverrides
from cpn.engine.distributed import DistributedContext
from cpn.errors import UserError
from cpn.evaluation import PosePredictions
from cpn.prediction.estimator import PoseEstimator
from cpn.tasks.evaluate import evaluate
from cpn.tasks.evaluation.prediction_parts import PredictionParts
from tests.ranks import ROOT, run_ranks
from tests.tasks.test_evaluate import evaluate_config

SCRIPT = Path(__file__).with_name("evaluating_rank.py")
IDENTITY = {"checkpoint": "a", "people and boxes": "b", "settings": "c"}


def predictions(*ids: int) -> PosePredictions:
    n = len(ids)
    instance_ids = np.array(ids, dtype=np.int64)
    keypoints = np.random.default_rng(n).uniform(0, 9, (n, 3, 2))
    return PosePredictions(
        instance_ids + 7, instance_ids, keypoints, np.ones((n, 3)), np.ones(n), np.ones(n)
    )


def opened(folder: Path, *, batches: int = 2, other: str = "") -> PredictionParts:
    identity = IDENTITY | ({other: "other"} if other else {})
    return PredictionParts.open(folder, identity, DistributedContext(), batches=batches)


def test_round_trip(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    parts = opened(folder)
    assert parts.done.tolist() == []
    batches = [predictions(3, 1), predictions(2), predictions(9)]
    parts.write(iter(batches))
    assert sorted(path.name for path in folder.iterdir()) == [
        "000_000001.safetensors",
        "000_000002.safetensors",
        "identity.json",
    ]
    assert [len(part) for part in parts.read()] == [3, 1]
    np.testing.assert_array_equal(parts.read()[1].keypoints, batches[2].keypoints)
    again = opened(folder)
    assert sorted(again.done.tolist()) == [1, 2, 3, 9]
    again.write(iter([predictions(4)]))
    assert [part.instance_ids.tolist() for part in again.read()] == [[1, 2, 3], [9], [4]]
    again.remove()
    assert not folder.exists()


def test_a_part_is_on_disk_before_the_next_batch_is_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    seen = []

    def batches() -> Any:
        for number in range(4):
            seen.append(len(list(folder.glob("*.safetensors"))))
            yield predictions(number)

    opened(folder, batches=1).write(batches())
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize("damage", ["cut", "changed", "other"])
def test_a_damaged_part_is_estimated_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    folder = tmp_path / "parts"
    opened(folder, batches=1).write(iter([predictions(1), predictions(2)]))
    part = folder / "000_000001.safetensors"
    content = bytearray(part.read_bytes())
    if damage == "changed":
        content[-1] ^= 1
    part.write_bytes(bytes({"cut": content[:-9], "changed": content}.get(damage, b"{}")))
    assert opened(folder).done.tolist() == [2]
    assert f"{part}: damaged, and deleted" in caplog.text
    assert not part.exists()


@pytest.mark.parametrize("name", list(IDENTITY))
def test_parts_of_another_evaluation_are_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    folder = tmp_path / "parts"
    opened(folder).write(iter([predictions(1)]))
    assert opened(folder, other=name).done.tolist() == []
    assert f"of an evaluation with another {name} are deleted" in caplog.text
    (folder / "identity.json").unlink()
    assert opened(folder).done.tolist() == []
    assert "with another checkpoint, people and boxes, settings" in caplog.text


def test_a_folder_of_the_user_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match=r"holds thesis\.tex; move it away or choose another out="):
        opened(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


@pytest.fixture
def config(make_checkpoint: Callable[..., Path], tmp_path: Path) -> Callable[[str], EvaluateConfig]:
    """An evaluation of six people, one per batch and part."""
    checkpoint = str(make_checkpoint("postprocess=none"))

    def make(out: str, **changes: Any) -> EvaluateConfig:
        options = {"batch_size": 1, "part_batches": 1, **changes}
        return evaluate_config(checkpoint=checkpoint, out=str(tmp_path / out), **options)

    return make


def start(folder: Path, config: EvaluateConfig, fault: str, *, ranks: int = 1) -> list[int]:
    """Return codes of ranks of which one kills itself; the others are killed when it is dead."""
    (folder / "task.json").write_text(config.model_dump_json())
    shared = {"CPN_FAULT": fault, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    shared["WORLD_SIZE"] = str(ranks)
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder)],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.DEVNULL,
        )
        for rank in range(ranks)
    ]
    dying = int(fault.rpartition(":")[2])
    try:
        processes[dying].wait(timeout=100)
    finally:
        for process in processes:
            process.kill()
    return [process.wait() for process in processes]


def resumed(folder: Path, config: EvaluateConfig, *, ranks: int = 1) -> tuple[Any, list[int]]:
    """The metrics, and how many batches each rank estimated."""
    for meeting in folder.glob("rendezvous_*"):
        meeting.unlink()
    (folder / "task.json").write_text(config.model_dump_json())
    outcomes = run_ranks(SCRIPT, folder, world_size=ranks)
    return outcomes[0].report["metrics"], [len(each.report["batches"]) for each in outcomes]


def same_files(tmp_path: Path, name: str) -> bool:
    pairs = [(f"{name}{end}", f"whole{end}") for end in (".json", "_results.json")]
    return all((tmp_path / a).read_bytes() == (tmp_path / b).read_bytes() for a, b in pairs)


def test_a_killed_evaluation_goes_on(config: Callable[..., EvaluateConfig], tmp_path: Path) -> None:
    whole = evaluate(config("whole.json"))
    assert start(tmp_path, config("killed.json"), "before_part@3:0") == [-signal.SIGKILL]
    assert len(list((tmp_path / "killed_parts").glob("*.safetensors"))) == 2
    metrics, estimated = resumed(tmp_path, config("killed.json"))
    assert estimated == [4]
    assert metrics == pytest.approx(whole, abs=0, nan_ok=True)
    assert same_files(tmp_path, "killed")
    assert not (tmp_path / "killed_parts").exists()
    assert not (tmp_path / "whole_parts").exists()


@pytest.mark.long
def test_two_ranks_go_on_and_so_does_one_alone(
    config: Callable[..., EvaluateConfig], tmp_path: Path
) -> None:
    whole = evaluate(config("whole.json"))
    for name, ranks in (("two.json", 2), ("one.json", 1)):
        for meeting in tmp_path.glob("rendezvous_*"):
            meeting.unlink()
        codes = start(tmp_path, config(name), "after_part@2:1", ranks=2)
        assert codes[1] == -signal.SIGKILL
        parts = tmp_path / f"{Path(name).stem}_parts"
        done = len(list(parts.glob("*.safetensors")))
        metrics, estimated = resumed(tmp_path, config(name), ranks=ranks)
        assert 2 <= done < 6
        assert sum(estimated) == 6 - done
        assert metrics == pytest.approx(whole, abs=0, nan_ok=True)
        assert same_files(tmp_path, Path(name).stem)
        assert not parts.exists()


class StoppedError(Exception):
    pass


@pytest.fixture
def estimated(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Evaluates, to the end or until so many batches are done; how many batches were estimated."""
    original = PoseEstimator.__call__

    def run(config: EvaluateConfig, *, stop_after: int | None = None) -> int:
        counts: list[int] = []

        def counted(self: PoseEstimator, crops: Any, matrices: Any) -> Any:
            if len(counts) == stop_after:
                raise StoppedError
            counts.append(len(crops))
            return original(self, crops, matrices)

        monkeypatch.setattr(PoseEstimator, "__call__", counted)
        with contextlib.suppress(StoppedError):
            evaluate(config)
        return len(counts)

    return run


@pytest.mark.long
def test_only_the_same_predictions_are_taken_up(
    config: Callable[..., EvaluateConfig], estimated: Callable[..., int], tmp_path: Path
) -> None:
    estimated(config("m.json"), stop_after=2)
    # Parts are not scored yet.
    scored_otherwise = {"postprocess": PostprocessOverrides(score="box")}
    assert estimated(config("m.json", **scored_otherwise)) == 4
    others: list[tuple[dict[str, Any], int]] = [
        ({"decode": DecodeOverrides(flip_test=False)}, 6),
        ({"limit": 5}, 5),
        ({"precision": "bf16"}, 6),
    ]
    for changes, count in others:
        estimated(config("m.json"), stop_after=2)
        assert estimated(config("m.json", **changes)) == count
        assert not (tmp_path / "m_parts").exists()


def test_larger_parts_lose_more(
    config: Callable[..., EvaluateConfig], estimated: Callable[..., int]
) -> None:
    larger = config("m.json", part_batches=2)
    assert estimated(larger, stop_after=5) == 5
    assert estimated(larger) == 2


def test_what_is_estimated_stays_when_writing_fails(
    config: Callable[..., EvaluateConfig],
    estimated: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("cpn.tasks.evaluate.write_results", full)
        with pytest.raises(OSError, match="No space left"):
            evaluate(config("m.json"))
    assert estimated(config("m.json")) == 0
    assert json.loads((tmp_path / "m.json").read_text())["boxes"] == "ground truth"
