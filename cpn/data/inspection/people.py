"""Boxes, keypoints and areas of N people, one by one."""

import numpy as np
import numpy.typing as npt

from cpn.coco.records import MIN_BOX_SIDE
from cpn.data.inspection.finding import Finding
from cpn.data.persons import FloatArray, PersonInstances

Mask = npt.NDArray[np.bool_]

# In pixels: what rounding explains.
SLACK = 2.0
# In longer sides of the box; people sets by hand and COCO stay below a half.
FAR = 0.5
# Of an area to that of its box; a segment fills 0.05 to 0.95 of its box.
LOWEST_FILL, HIGHEST_FILL = 0.01, 1.05


def inspect_people(people: PersonInstances) -> list[Finding]:
    """Everything that can be said of one person without the others.

    Args:
        people: of one split, also without box or labelled keypoints; areas may be NaN.
    """
    return [
        *_inspect_boxes(people),
        *_inspect_keypoints(people),
        *_inspect_visibility(people),
        *_inspect_areas(people),
    ]


def labelled(people: PersonInstances) -> Mask:
    """(N, K): v > 0."""
    return np.asarray(people.keypoints[..., 2] > 0)


def has_box(people: PersonInstances) -> Mask:
    """(N,): the box can be cropped, by the rule of `box_problem`."""
    return np.asarray(people.boxes_xywh[:, 2:].min(axis=1, initial=np.inf) >= MIN_BOX_SIDE)


def overhang(points: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """(..., K) pixels by which points (..., K, 2) lie outside low (..., 2) to high; 0 inside."""
    beyond = np.maximum(low[..., None, :] - points, points - high[..., None, :])
    return np.asarray(beyond.max(axis=-1).clip(0))


def _inspect_boxes(people: PersonInstances) -> list[Finding]:
    ids, boxes = people.annotation_ids, people.boxes_xywh
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    sizes = people.image_sizes_hw[:, ::-1].astype(np.float64)
    able = has_box(people)
    outside = able & ((high <= 0) | (low >= sizes)).any(axis=1)
    corners = np.stack([low, high], axis=1)
    beyond = overhang(corners, np.zeros_like(sizes), sizes).max(axis=1, initial=0)
    partly = able & ~outside & (beyond > SLACK)
    return [
        *Finding.where_often(
            ~able, ids, "the box has no area", "they are left out; give them a box"
        ),
        *Finding.where(
            outside,
            ids,
            "warning",
            "the box lies outside the photo",
            "'bbox' is x, y, width, height in pixels of the photo as stored; mend or remove them",
        ),
        *Finding.where(
            partly,
            ids,
            "note",
            f"the box reaches more than {SLACK:g} pixels out of the photo",
            "what is outside is black in the crop",
        ),
    ]


def _inspect_keypoints(people: PersonInstances) -> list[Finding]:
    ids, boxes, known = people.annotation_ids, people.boxes_xywh, labelled(people)
    points = people.keypoints[..., :2]
    sizes = people.image_sizes_hw[:, ::-1].astype(np.float64)
    outside = overhang(points, np.zeros_like(sizes), sizes) > 1
    longer = boxes[:, 2:].max(axis=1, initial=0)
    far = overhang(points, boxes[:, :2], boxes[:, :2] + boxes[:, 2:]) > FAR * longer[:, None]
    # The corner is where converters put what is not labelled.
    corner = (points == 0).all(axis=-1)
    return [
        *Finding.where_often(
            (known & outside).any(axis=1),
            ids,
            "labelled keypoints lie outside the photo",
            "training ignores these keypoints; mend x and y or set v = 0",
        ),
        *Finding.where_often(
            (known & far & ~outside).any(axis=1) & has_box(people),
            ids,
            f"labelled keypoints lie outside the box by more than {FAR:g} of its longer side",
            "the crop may not show them; mend the box or the keypoints",
        ),
        *Finding.where_often(
            (known & corner).any(axis=1),
            ids,
            "keypoints at x = 0, y = 0 are labelled",
            "set v = 0 where a keypoint is not labelled, else the corner is learned for it",
        ),
    ]


def _inspect_visibility(people: PersonInstances) -> list[Finding]:
    known = labelled(people)
    nothing = ~known.any(axis=1)
    found = Finding.where(
        nothing,
        people.annotation_ids,
        "warning" if 2 * nothing.sum() > len(people) else "note",
        "no keypoint is labelled (v > 0)",
        "they are not trained on",
    )
    if known.any() and not (people.keypoints[..., 2] == 2).any():
        found.append(
            Finding(
                "warning",
                "no keypoint of anybody is visible (v = 2), all labelled ones are hidden (v = 1)",
                "write v = 2 for visible keypoints; GlobalNet learns from these alone unless"
                " loss.global_joints=labelled",
            )
        )
    return found


def _inspect_areas(people: PersonInstances) -> list[Finding]:
    box_areas = people.boxes_xywh[:, 2:].clip(0).prod(axis=1)
    fill = np.full(len(people), np.nan)
    np.divide(people.areas, box_areas, out=fill, where=box_areas > 0)
    return Finding.where_often(
        (fill < LOWEST_FILL) | (fill > HIGHEST_FILL),
        people.annotation_ids,
        f"'area' is not {LOWEST_FILL:g} to {HIGHEST_FILL:g} of the box's",
        "OKS divides by it: give the person's area in square pixels (COCO: of the segment)",
    )
