"""A rank that evaluates: `python evaluating_rank.py FOLDER`, for test_prediction_parts.py.

FOLDER/task.json has an evaluation config. It reports the metrics and how many people it estimated.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from cpn.config.evaluation_schema import EvaluateConfig
from cpn.config.validation import validate_plain
from cpn.prediction.estimator import PoseEstimator
from cpn.process.program import configure_logging
from cpn.tasks.evaluate import evaluate
from tests.ranks import write_report
from tests.tasks.two_ranks import meet_in_files


def count_people(counts: list[int]) -> None:
    """Every batch that is estimated from now on is noted."""
    estimate = PoseEstimator.__call__

    def counted(self: PoseEstimator, crops: Any, matrices: Any) -> Any:
        counts.append(len(crops))
        return estimate(self, crops, matrices)

    PoseEstimator.__call__ = counted  # type: ignore[method-assign,assignment]


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    configure_logging()
    meet_in_files(folder)
    config = validate_plain(json.loads((folder / "task.json").read_text()), EvaluateConfig)
    counts: list[int] = []
    count_people(counts)
    metrics = evaluate(config)
    write_report(folder, {"metrics": metrics, "batches": counts})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
