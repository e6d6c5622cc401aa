"""`python scripts/train.py` in a forked process, for the tests that let it fail."""

import hashlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cpn.build import PoseCriterion
from cpn.data.pose_dataset import PoseDataset
from cpn.data.sample import PoseBatch
from cpn.engine.failpoints import HERE, VARIABLE
from cpn.evaluation import PosePredictions
from cpn.tasks.evaluation import pose_evaluation
from tests.own_mounts import fill, read_only, small_disk
from tests.tasks.two_ranks import meet_in_files


def train_program(overrides: Sequence[str]) -> None:
    """Leaves as the program does, by its exit code."""
    from scripts.train import main  # noqa: PLC0415 - sets signal handlers' ground: only in a child

    sys.argv = ["train.py", *overrides]
    main()


def train_and_lose_a_worker(overrides: Sequence[str], sample: tuple[int, int]) -> None:
    """The worker that is to make the sample (epoch, index) is killed, as if memory had run out."""
    make = PoseDataset.sample

    def make_or_die(self: PoseDataset, *key: int, **options: Any) -> Any:
        if key == sample and torch.utils.data.get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return make(self, *key, **options)

    PoseDataset.sample = make_or_die  # type: ignore[method-assign]
    train_program(overrides)


def train_rank(meeting: Path, overrides: Sequence[str], ids: Path) -> None:
    """One of several ranks, whose program notes who is trained on.

    Args:
        meeting: a folder of this start alone.
        overrides: of the run.
        ids: a folder; rank n writes lines of [step, ids] to `rank_n.jsonl`.
    """
    meet_in_files(meeting)
    ids.mkdir(exist_ok=True, parents=True)
    path, loss = ids / f"rank_{os.environ['RANK']}.jsonl", PoseCriterion.__call__

    def noted_loss(self: PoseCriterion, network: Any, batch: PoseBatch) -> Any:
        with path.open("a") as file:
            file.write(f"{json.dumps([HERE.step, batch.instance_ids.tolist()])}\n")
        return loss(self, network, batch)

    PoseCriterion.__call__ = noted_loss  # type: ignore[method-assign]
    train_program(overrides)


def train_rank_to_nan(meeting: Path, overrides: Sequence[str]) -> None:
    """One of two ranks; in the second epoch's evaluation rank 1 finds a joint at NaN."""
    meet_in_files(meeting)
    estimate = pose_evaluation.estimate_instances  # type: ignore[attr-defined]

    def diverged(*arguments: Any) -> PosePredictions:
        found = estimate(*arguments)
        if os.environ["RANK"] == "1" and HERE.step > 3:
            found.keypoints[0, 0, 0] = np.nan
        return found

    pose_evaluation.estimate_instances = diverged  # type: ignore[attr-defined, assignment]
    train_program(overrides)


def program_ends_with(overrides: Sequence[str], *, fault: str = "", log: Path) -> int:
    """The exit code of the program in a child of this process, which must have but one thread."""
    child = os.fork()
    if child == 0:
        os.environ[VARIABLE] = fault
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        code: Any = 70  # it did not leave by itself
        try:
            train_program(overrides)
            code = 0
        except SystemExit as error:
            code = error.code
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def train_on_a_full_disk(overrides: Sequence[str], run: Path, report: Path, left: int) -> None:
    """Stops a run on a small disk, fills the disk, resumes, makes room, and resumes again.

    Args:
        overrides: of the run.
        run: its folder.
        report: gets exit codes and file hashes as JSON; the programs speak to `full.log` and
            `others.log` beside it.
        left: free bytes that are left before it is resumed.
    """
    small_disk(run.parent, 8 << 20)
    full, others = report.with_name("full.log"), report.with_name("others.log")
    resumed = [*overrides, "run.if_exists=resume"]
    codes = [program_ends_with(resumed, fault="before_step@1:0:term", log=others)]
    before = _hashes(run)
    fill(run.parent, but=left)
    codes.append(program_ends_with(resumed, log=full))
    after = _hashes(run)
    (run.parent / "ballast").unlink()
    codes.append(program_ends_with(resumed, log=others))
    state = json.loads((run / "status.json").read_text())["state"]
    document = {"codes": codes, "before": before, "after": after, "state": state}
    report.write_text(json.dumps(document))


def train_read_only(overrides: Sequence[str], root: Path) -> None:
    """Tries to train where nothing can be written; no network may be built."""

    def built(*_arguments: Any, **_options: Any) -> None:
        raise AssertionError("a network was built")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cpn.tasks.train.starting_model", built)
        read_only(root)
        train_program(overrides)


def _hashes(run: Path) -> dict[str, str]:
    files = [path for path in sorted(run.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def last_line(log: Path) -> str:
    """What a program said in the end; it must not have shown a traceback."""
    text = log.read_text()
    assert "Traceback" not in text, text
    return text.splitlines()[-1]
