"""Boxes and keypoints that are written in another way than COCO's, told by the whole set.

COCO's boxes are x, y, width, height and its keypoints x, y, v, all in pixels. The labelled
keypoints of a person lie in its box, which shows how boxes are meant.
"""

import numpy as np

from cpn.data.inspection.finding import Finding
from cpn.data.inspection.people import has_box, labelled
from cpn.data.persons import FloatArray, PersonInstances

MIN_PEOPLE = 5
# The rectangle round a person's keypoints is a good part of its box: median IoU 0.5 to 0.8.
MIN_FIT = 0.3
MUCH_BETTER = 1.5


def inspect_layout(people: PersonInstances) -> list[Finding]:
    """Normalised coordinates, boxes of other kinds, x and y exchanged."""
    return _normalised(people) or _other_layout(people)


def _normalised(people: PersonInstances) -> list[Finding]:
    points = people.keypoints[labelled(people), :2]
    boxes = people.boxes_xywh[has_box(people)]
    wrong = [
        name
        for name, values in (("keypoints", points), ("bbox", boxes))
        if len(values) and np.abs(values).max() <= 1
    ]
    if not wrong:
        return []
    what = f"all values of {' and '.join(repr(name) for name in wrong)} are between 0 and 1"
    advice = "COCO's are pixels: multiply x by the width and y by the height of the photo"
    return [Finding("error", what, advice)]


def _other_layout(people: PersonInstances) -> list[Finding]:
    rows = np.flatnonzero((labelled(people).sum(axis=1) > 1) & has_box(people))
    if len(rows) < MIN_PEOPLE:
        return []
    people = people.take(rows)
    boxes, points = people.boxes_xywh, people.keypoints[..., :2]
    low, size = boxes[:, :2], boxes[:, 2:]
    readings = {
        "'bbox' looks like x1, y1, x2, y2": (np.hstack([low, size - low]), points),
        "'bbox' looks like centre x, centre y, width, height": (
            np.hstack([low - size / 2, size]),
            points,
        ),
        "either 'bbox' or 'keypoints' has y before x": (boxes, points[..., ::-1]),
    }
    usual = _fit(people, boxes, points)
    fits = {what: _fit(people, *reading) for what, reading in readings.items()}
    best = max(fits, key=fits.__getitem__)
    if fits[best] < MIN_FIT or fits[best] < MUCH_BETTER * usual:
        return []
    what = (
        f"{best}: read so, boxes and the rectangles round their keypoints overlap by"
        f" {fits[best]:.2f} (median IoU), as x, y, width, height and x, y, v by {usual:.2f}"
    )
    return [Finding("error", what, "write them as COCO does")]


def _fit(people: PersonInstances, boxes: FloatArray, points: FloatArray) -> float:
    """Median intersection over union of the boxes and the rectangles round labelled keypoints."""
    known = labelled(people)[..., None]
    low = np.where(known, points, np.inf).min(axis=1)
    high = np.where(known, points, -np.inf).max(axis=1)
    corner = boxes[:, :2] + boxes[:, 2:].clip(0)
    common = np.minimum(high, corner) - np.maximum(low, boxes[:, :2])
    intersection = common.clip(0).prod(axis=1)
    areas = (high - low).prod(axis=1) + boxes[:, 2:].clip(0).prod(axis=1)
    return float(np.median(intersection / np.maximum(areas - intersection, 1e-9)))
