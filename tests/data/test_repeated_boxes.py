import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cpn.data.persons import PersonInstances
from cpn.data.repeated_boxes import suppress_repeated_boxes
from cpn.errors import UserError


@pytest.fixture
def boxes() -> PersonInstances:
    """Photos 5, 3, 5, 5: the second box of photo 5 is better than the first, IoU 9/11."""
    corners = [[0, 0], [0, 0], [1, 0], [50, 0]]
    n = len(corners)
    return PersonInstances(
        image_folder=Path(),
        file_names=np.array([b"a.png"] * n),
        image_ids=np.array([5, 3, 5, 5]),
        annotation_ids=np.arange(n),
        image_sizes_hw=np.full((n, 2), 100),
        boxes_xywh=np.array([[x, y, 10.0, 10.0] for x, y in corners]),
        keypoints=np.zeros((n, 17, 3)),
        areas=np.full(n, 100.0),
        box_scores=np.array([0.5, 0.4, 0.9, 0.3]),
    )


@pytest.mark.parametrize(
    ("options", "ids", "scores"),
    [
        ({"method": "none"}, [0, 1, 2, 3], [0.5, 0.4, 0.9, 0.3]),
        ({"method": "hard"}, [1, 2, 3], [0.4, 0.9, 0.3]),
        ({"method": "hard", "threshold": 0.9}, [0, 1, 2, 3], [0.5, 0.4, 0.9, 0.3]),
        ({"method": "soft_linear"}, [0, 1, 2, 3], [0.5 * 2 / 11, 0.4, 0.9, 0.3]),
        ({"method": "soft_linear", "floor": 0.1}, [1, 2, 3], [0.4, 0.9, 0.3]),
        (
            {"method": "soft", "sigma": 1.0},
            [0, 1, 2, 3],
            [0.5 * np.exp(-((9 / 11) ** 2)), 0.4, 0.9, 0.3],
        ),
    ],
)
def test_photo_by_photo(
    boxes: PersonInstances, options: Any, ids: list[int], scores: list[float]
) -> None:
    found = suppress_repeated_boxes(boxes, **options)
    assert found.annotation_ids.tolist() == ids
    np.testing.assert_allclose(found.box_scores, scores)


def test_how_many_are_left_is_told(
    boxes: PersonInstances, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        suppress_repeated_boxes(boxes, method="hard")
    assert "box NMS (hard): 3 of 4 boxes are left" in caplog.text


def test_wrong_options_are_refused(boxes: PersonInstances) -> None:
    with pytest.raises(ValueError, match="box NMS 'oks' is unknown"):
        suppress_repeated_boxes(boxes, method="oks")  # type: ignore[arg-type]
    message = r"detections\.nms=soft leaves no box: the best score is 0\.9, and .*nms_floor is 1"
    with pytest.raises(UserError, match=message):
        suppress_repeated_boxes(boxes, method="soft", floor=1.0)
