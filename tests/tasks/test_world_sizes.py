"""F12: one run on 2, then 1, then 4 ranks trains on the same people in the same order."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.forked import exit_codes, forked_ranks
from tests.tasks.program import last_line, train_rank
from tests.whole_runs import make_people, run_overrides

STEPS = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worlds")
    make_people(folder / "data")
    return folder


def _start(folder: Path, name: str, number: int, *, ranks: int, stop_at: int = 0) -> int:
    """Starts the run, or goes on with it; the exit code of all its ranks."""
    meeting = folder / f"{name}_{number}"
    meeting.mkdir()
    overrides = [
        *run_overrides(folder, name),
        *("data.train.limit=40", "engine.epochs=2", "engine.log_every=1"),
        "engine.freeze_batch_norm=true",
    ]
    processes = forked_ranks(
        train_rank,
        meeting,
        *(overrides, folder / f"ids_{name}" / str(number)),
        world_size=ranks,
        environment={"CPN_FAULT": f"before_step@{stop_at}:0:term"},
    )
    codes = exit_codes(processes)
    assert len(set(codes)) == 1, [log.read_text() for log in sorted(meeting.glob("*.log"))]
    return int(codes[0] or 0)


def _people(folder: Path, name: str) -> dict[int, list[int]]:
    """Who was trained on, by step; a start's ranks have their shares of each global batch."""
    found: dict[int, list[int]] = {}
    for start in sorted((folder / f"ids_{name}").iterdir()):
        for rank in sorted(start.iterdir()):
            for line in rank.read_text().splitlines():
                step, ids = json.loads(line)
                found.setdefault(step, []).extend(ids)
    return found


def _losses(folder: Path, name: str) -> list[tuple[int, float]]:
    lines = (folder / "runs" / name / "metrics.jsonl").read_text().splitlines()
    documents: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return [(each["step"], each["loss"]) for each in documents if each["kind"] == "train"]


@pytest.fixture(scope="module")
def moved(folder: Path) -> Path:
    """A run that was alone, and one that was moved, both whole."""
    assert _start(folder, "alone", 0, ranks=1) == 0
    for number, (ranks, stop_at) in enumerate([(2, 7), (1, 14)]):
        assert _start(folder, "moved", number, ranks=ranks, stop_at=stop_at) == 75
    assert _start(folder, "moved", 2, ranks=4) == 0
    return folder


@pytest.mark.long
def test_other_numbers_of_ranks_see_the_same_people_in_the_same_order(moved: Path) -> None:
    people = _people(moved, "moved")
    assert people == _people(moved, "alone")
    assert sorted(people) == list(range(1, STEPS + 1))
    assert {len(ids) for ids in people.values()} == {4}


@pytest.mark.long
def test_other_numbers_of_ranks_have_the_same_losses(moved: Path) -> None:
    """Without dropout and with frozen BatchNorm a sum's order is all that differs."""
    alone, found = dict(_losses(moved, "alone")), dict(_losses(moved, "moved"))
    assert sorted(found) == list(range(1, STEPS + 1))
    assert found == pytest.approx(alone, rel=1e-5)


@pytest.mark.long
def test_other_numbers_of_ranks_are_told(moved: Path) -> None:
    for number, told in [(1, "resumed on 1 ranks what ran on 2"), (2, "on 4 ranks what ran on 1")]:
        assert told in (moved / f"moved_{number}" / "rank_0.log").read_text()


def test_ranks_that_cannot_share_the_batch_are_refused(folder: Path) -> None:
    assert _start(folder, "three", 0, ranks=3) == 2
    assert "the global batch of 4 cannot be shared evenly by 3 process(es); choose a" in last_line(
        folder / "three_0" / "rank_0.log"
    )
