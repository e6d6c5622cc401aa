"""Box formats. Boxes are in edge coordinates (see `cpn.geometry.crop`)."""

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
