"""What the tests of prediction share: a pretended detector, and how to read what is written."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cpn.config.predict_schema import PredictConfig
from cpn.detection.detections import Detections

MakePredictConfig = Callable[..., PredictConfig]
Lines = list[dict[str, Any]]


class PretendedDetector:
    """Finds somebody on the left of every photo, and on the right of every second one."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self._seen = 0

    def __call__(self, images_rgb: Sequence[Any]) -> list[Detections]:
        self.asked.append(len(images_rgb))
        found = []
        for _ in images_rgb:
            boxes = [[4.0, 4.0, 30.0, 44.0], [34.0, 4.0, 60.0, 44.0]][: 1 + self._seen % 2]
            found.append(Detections(np.array(boxes), np.array([0.9, 0.8])[: len(boxes)]))
            self._seen += 1
        return found


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def lines(folder: Path) -> Lines:
    return [json.loads(line) for line in (folder / "frames.jsonl").read_text().splitlines()]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def people_per_frame(folder: Path) -> list[int]:
    return [len(line["people"]) for line in lines(folder)]
