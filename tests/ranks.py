"""Sub-processes that are to each other what the ranks of torchrun are."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
TIMEOUT_SECONDS = 120
OF_PYCOCOTOOLS = "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"


class RankOutcome(NamedTuple):
    """The figures that a rank reported, and what it wrote to stderr."""

    report: dict[str, Any]
    errors: str


def run_ranks(script: Path, folder: Path, *, world_size: int = 2) -> list[RankOutcome]:
    """Runs `python SCRIPT FOLDER` once per rank, warnings being errors; all must succeed.

    Each rank has torchrun's environment but for an address to meet at: they meet in files of the
    folder, as a port may be taken. Rank n leaves its figures with `write_report`.
    """
    command = [sys.executable, "-W", "error", "-W", OF_PYCOCOTOOLS, str(script), str(folder)]
    shared = {"WORLD_SIZE": str(world_size), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            command,
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world_size)
    ]
    try:
        errors = [process.communicate(timeout=TIMEOUT_SECONDS)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert not any(process.returncode for process in processes), "\n".join(errors)
    return [
        RankOutcome(json.loads(_report_path(folder, rank).read_text()), text)
        for rank, text in enumerate(errors)
    ]


def write_report(folder: Path, report: dict[str, Any]) -> None:
    """What a rank calls in the end."""
    _report_path(folder, int(os.environ["RANK"])).write_text(json.dumps(report))


def _report_path(folder: Path, rank: int) -> Path:
    return folder / f"rank_{rank}.json"
