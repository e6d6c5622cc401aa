"""People for checks, from a few numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cpn.data.inspection import Finding
from cpn.data.persons import PersonInstances


def people_of(
    keypoints: Any,
    *,
    boxes: Any = None,
    size_wh: tuple[int, int] = (100, 80),
    areas: Sequence[float] | None = None,
) -> PersonInstances:
    """N people of keypoints (N, K, 3), ids 1..N, by default half filling (10, 10, 40, 60)."""
    points = np.array(keypoints, dtype=np.float64)
    count = len(points)
    given = np.tile([10.0, 10, 40, 60], (count, 1)) if boxes is None else np.array(boxes, float)
    return PersonInstances(
        image_folder=Path("photos"),
        file_names=np.array([f"{i}.jpg".encode() for i in range(count)], dtype=np.bytes_),
        image_ids=np.arange(1, count + 1),
        annotation_ids=np.arange(1, count + 1),
        image_sizes_hw=np.tile([size_wh[1], size_wh[0]], (count, 1)),
        boxes_xywh=given,
        keypoints=points,
        areas=given[:, 2:].prod(axis=1) / 2 if areas is None else np.array(areas, dtype=float),
        box_scores=np.ones(count),
    )


def told(findings: Sequence[Finding]) -> list[tuple[str, tuple[int | str, ...], str]]:
    """Severity, ids and the first three words of each."""
    return [(each.severity, each.ids, " ".join(each.what.split()[:3])) for each in findings]
