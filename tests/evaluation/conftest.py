"""A tiny COCO document: two images, three persons with keypoints, one crowd, one unlabelled."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cpn.skeleton import COCO_17

Document = dict[str, Any]
Results = list[dict[str, Any]]
Perfect = Callable[[Document], Results]


def person(annotation_id: int, image_id: int, corner: tuple[float, float], **changes: Any) -> Any:
    """An annotation whose 17 keypoints lie on a 4-wide lattice inside a box of 100x100."""
    k = np.arange(17)
    x, y = corner[0] + 20.0 * (k % 4), corner[1] + 20.0 * (k // 4)
    visibility = np.where(k == 5, 1, 2)
    base = {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": 1,
        "bbox": [*corner, 100.0, 100.0],
        "area": 6000.0,
        "iscrowd": 0,
        "keypoints": np.stack([x, y, visibility], axis=1).ravel().tolist(),
        "num_keypoints": 17,
    }
    return base | changes


@pytest.fixture
def document() -> Document:
    nothing = {"keypoints": [0.0] * 51, "num_keypoints": 0}
    return {
        "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 9, "file_name": "b.jpg"}],
        "annotations": [
            person(1, 7, (10.0, 10.0)),
            person(2, 7, (200.0, 10.0), area=20000.0),
            person(3, 9, (10.0, 10.0)),
            person(4, 9, (200.0, 10.0), iscrowd=1, **nothing),
            person(5, 9, (400.0, 10.0), **nothing),
        ],
        "categories": [
            {"id": 1, "name": "person", "keypoints": list(COCO_17.keypoint_names)},
            {"id": 3, "name": "car"},
        ],
    }


@pytest.fixture
def perfect() -> Callable[[Document], Results]:
    """Results equal to the labelled persons of a document."""

    def results(document: Document) -> Results:
        return [
            {
                "image_id": annotation["image_id"],
                "category_id": 1,
                "keypoints": list(annotation["keypoints"]),
                "score": 0.9 - 0.01 * annotation["id"],
            }
            for annotation in document["annotations"]
            if annotation["num_keypoints"]
        ]

    return results
