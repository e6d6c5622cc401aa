"""Stands in for training: `python -m tests.tasks.ablation.fake_worker ORDER` makes figures up.

AP is a tenth of the epochs, and a thousandth of the seed; a run whose batch is 7 diverges.
"""

import json
from pathlib import Path

import numpy as np

from cpn.ablation.results import RunFigures
from cpn.config.schema import TrainConfig
from cpn.errors import UserError
from cpn.files.atomic import append_whole
from cpn.tasks.ablation.orders import TrainingOrder, obey


def work(order: TrainingOrder[TrainConfig]) -> None:
    config = order.training
    folder = Path(config.run.root) / config.run.name
    folder.mkdir(parents=True, exist_ok=True)
    append_whole(folder / "trained", f"{config.seed}\n".encode())
    if config.engine.batch_size == 7:
        raise UserError("training diverged")
    lines = [
        {"kind": "train", "step": 5, "loss": 0.5},
        {"kind": "train", "step": 10, "loss": 0.25},
        {"kind": "eval", "step": 10, "AP": 0.1},
    ]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    for use in order.uses:
        decode = {"dark": 0.01, "argmax": 0.0}[use.use.decode.method]
        ap = config.engine.epochs / 10 + config.seed / 1000 + decode
        values = np.full(12, ap)
        drawn = ap + np.linspace(-0.01, 0.01, order.resamples)[:, None] + np.zeros(12)
        figures = RunFigures(use.identity, "same", 100, ("nose", "left_eye"), values, drawn)
        figures.save(Path(use.folder) / "figures.npz")


if __name__ == "__main__":
    obey(TrainingOrder[TrainConfig], work)
