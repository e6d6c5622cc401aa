"""One of two ranks for test_two_ranks.py: `python two_ranks.py FOLDER`, as torchrun would start it.

FOLDER/task.json has a training config and a list of evaluation configs.
"""

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import torch

from cpn.config.evaluation_schema import EvaluateConfig
from cpn.config.schema import TrainConfig
from cpn.config.validation import validate_plain
from cpn.errors import UserError
from cpn.process.program import configure_logging
from cpn.tasks.evaluate import evaluate
from cpn.tasks.train import train
from tests.ranks import write_report


def meet_in_files(folder: Path) -> None:
    """Every process group meets through a file of its own instead of a port."""
    numbers, join = itertools.count(), torch.distributed.init_process_group

    def join_by_file(backend: str, **options: Any) -> None:
        address = f"file://{folder / f'rendezvous_{next(numbers)}'}"
        join(backend, **{**options, "init_method": address})

    torch.distributed.init_process_group = join_by_file  # type: ignore[assignment]


def read_task(folder: Path) -> dict[str, Any]:
    task: dict[str, Any] = json.loads((folder / "task.json").read_text())
    return task


def refusal(config: TrainConfig) -> str:
    """Why a second run of this name is refused."""
    try:
        train(config)
    except UserError as error:
        return str(error)
    return "nothing was refused"


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    configure_logging()
    meet_in_files(folder)
    task = read_task(folder)
    config = validate_plain(task["train"], TrainConfig)
    report = {
        "train": train(config),
        "evaluate": [evaluate(validate_plain(each, EvaluateConfig)) for each in task["evaluate"]],
        "refused": refusal(config),
    }
    write_report(folder, report)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
