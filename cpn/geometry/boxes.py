"""Box formats and overlap. Boxes are in edge coordinates (see `cpn.geometry.crop`)."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def xywh_to_xyxy(boxes_xywh: npt.ArrayLike) -> FloatArray:
    """(..., 4) x, y, width, height -> (..., 4) left, top, right, bottom."""
    boxes = np.asarray(boxes_xywh, dtype=np.float64)
    return np.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], axis=-1)


def xyxy_to_xywh(boxes_xyxy: npt.ArrayLike) -> FloatArray:
    """(..., 4) left, top, right, bottom -> (..., 4) x, y, width, height."""
    boxes = np.asarray(boxes_xyxy, dtype=np.float64)
    return np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)


def box_iou(boxes_a_xyxy: npt.ArrayLike, boxes_b_xyxy: npt.ArrayLike) -> FloatArray:
    """Intersection over union of every pair: (A, 4), (B, 4) -> (A, B).

    Boxes without area overlap nothing: their row or column is 0, not NaN.
    """
    boxes_a = np.asarray(boxes_a_xyxy, dtype=np.float64).reshape(-1, 1, 4)
    boxes_b = np.asarray(boxes_b_xyxy, dtype=np.float64).reshape(1, -1, 4)
    top_left = np.maximum(boxes_a[..., :2], boxes_b[..., :2])
    bottom_right = np.minimum(boxes_a[..., 2:], boxes_b[..., 2:])
    intersection = _area(np.concatenate([top_left, bottom_right], axis=-1))
    union = _area(boxes_a) + _area(boxes_b) - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def _area(boxes_xyxy: FloatArray) -> FloatArray:
    sides: FloatArray = np.maximum(boxes_xyxy[..., 2:] - boxes_xyxy[..., :2], 0.0)
    return np.asarray(sides[..., 0] * sides[..., 1])
