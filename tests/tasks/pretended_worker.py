"""Stands in for `cpn.tasks.ablation.worker`: the learning rate decides AP, nothing is trained.

`lr` above 0.5 fails. With `engine.log_every=7` all but the first get nowhere, and go on for long.
"""

import json
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import numpy as np

from cpn.ablation.results import RunFigures
from cpn.process.interruption import die_with_parent


def stop(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(75)


def work(order: dict[str, Any]) -> None:
    config, use = order["training"], order["uses"][0]
    run = Path(config["run"]["root"]) / config["run"]["name"]
    run.mkdir(parents=True, exist_ok=True)
    with (run / "begun.txt").open("a") as file:
        file.write("begun\n")
    if config["optimizer"]["lr"] > 0.5:
        raise SystemExit("error: training diverged")
    is_first = len(list(run.parent.glob("*/begun.txt"))) == 1
    is_hopeless = config["engine"]["log_every"] == 7 and not is_first
    ap = 0.01 if is_hopeless else 0.9 - config["optimizer"]["lr"]
    lines = [
        json.dumps({"kind": "eval", "epoch": epoch, "step": epoch, "AP": ap}) for epoch in range(4)
    ]
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    if is_hopeless:
        time.sleep(600)
    values = np.zeros(10)
    values[0] = ap
    figures = RunFigures(use["identity"], "images", 10, (), values, np.zeros((1, 10)))
    Path(use["folder"]).mkdir(parents=True, exist_ok=True)
    figures.save(Path(use["folder"]) / "figures.npz")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    die_with_parent(int(sys.argv[2]))
    work(json.loads(Path(sys.argv[1]).read_bytes()))
