"""One of two ranks for test_train_detector.py: `python detector_rank.py FOLDER`.

FOLDER/task.json is the configuration of the training.
"""

import sys
from pathlib import Path

import torch

from cpn.config.detection_schema import TrainDetectorConfig
from cpn.config.validation import validate_plain
from cpn.process.program import configure_logging
from cpn.tasks.train_detector import train_detector
from tests.ranks import write_report
from tests.tasks.two_ranks import meet_in_files, read_task


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    configure_logging()
    meet_in_files(folder)
    config = validate_plain(read_task(folder), TrainDetectorConfig)
    write_report(folder, train_detector(config))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
