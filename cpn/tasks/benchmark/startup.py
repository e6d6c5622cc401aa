"""How long a person waits before anything happens: imports, help, the first training step."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cpn.benchmark.report import Report
from cpn.benchmark.timing import time_interleaved
from cpn.config.schema import BenchmarkConfig
from cpn.data.synthetic import generate_dataset
from cpn.errors import UserError

ROOT = Path(__file__).parents[3]
FIRST_STEP = "step 1/"
PHOTOS = 32


def benchmark_startup(config: BenchmarkConfig) -> Report:
    """Times fresh interpreters, one after the other."""
    report = Report("startup", {"rounds": config.rounds})
    with tempfile.TemporaryDirectory(prefix="cpn-benchmark-") as folder:
        timings = time_interleaved(_cases(Path(folder)), rounds=config.rounds)
    for name in timings.seconds:
        report.add(name, "s", timings.cost(name))
    for name, goal in (("train.py --help", 1.2), ("train.py to its first step", 12.0)):
        report.require(f"{name} in s", timings.cost(name).median, "at most", goal)
    return report


def _cases(folder: Path) -> Mapping[str, Callable[[], int]]:
    for split in ("train", "val"):
        generate_dataset(folder, split=split, num_images=PHOTOS, seed=0)
    train = ROOT / "scripts" / "train.py"
    data = [
        f"data.{split}.{key}={folder}/{path}"
        for split in ("train", "val")
        for key, path in (
            ("annotations", f"annotations/person_keypoints_{split}.json"),
            ("images", f"images/{split}"),
        )
    ]
    run = [f"run.root={folder}/runs", "run.if_exists=overwrite", "engine.log_every=1"]
    return {
        "python": lambda: _finish([sys.executable, "-c", "pass"]),
        "import cpn": lambda: _finish([sys.executable, "-c", "import cpn"]),
        "import torch": lambda: _finish([sys.executable, "-c", "import torch"]),
        "train.py --help": lambda: _finish([sys.executable, str(train), "--help"]),
        "train.py to its first step": lambda: _until_first_step(
            [sys.executable, str(train), "experiment=demo", *data, *run]
        ),
    }


def _finish(command: Sequence[str]) -> int:
    done = subprocess.run(  # noqa: S603 - our own commands
        command, env=_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UserError(f"{' '.join(command)} failed: {done.stderr[-300:]}")
    return 1


def _until_first_step(command: Sequence[str]) -> int:
    """Starts a training and stops it as soon as it has reported a step."""
    with subprocess.Popen(  # noqa: S603 - our own command
        command, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if FIRST_STEP in line:
                process.kill()
                return 1
    raise UserError(f"{' '.join(command)} ended before its first step: {''.join(lines[-3:])}")


def _environment() -> dict[str, str]:
    """This process's, with its own cpn, installed or not."""
    return os.environ | {"PYTHONPATH": str(ROOT)}
