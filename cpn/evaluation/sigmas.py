"""OKS sigmas from repeated annotations: how exactly people can place each keypoint."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class SigmaEstimate(NamedTuple):
    """Of K keypoints; NaN where nobody was labelled twice.

    Attributes:
        sigmas: (K,) as COCO defines them.
        robust: (K,) the same by the median, which left exchanged with right does not move.
        pairs: (K,) how many people were labelled twice.
    """

    sigmas: FloatArray
    robust: FloatArray
    pairs: npt.NDArray[np.int64]


def estimate_sigmas(first: FloatArray, second: FloatArray, areas: FloatArray) -> SigmaEstimate:
    """COCO's sigma_i^2 = E[d_i^2 / s^2], d_i from annotation to truth, s^2 the person's area.

    Two annotators who err independently are apart by twice that variance. Of normal errors the
    median of d^2 is ln 2 of its mean.

    Args:
        first: (P, K, 3) x, y, v by one annotator.
        second: the same of the same people by another one.
        areas: (P,) in square pixels, above 0.
    """
    both = (first[..., 2] > 0) & (second[..., 2] > 0)
    apart = ((first[..., :2] - second[..., :2]) ** 2).sum(axis=-1) / areas[:, None] / 2
    sigmas, robust = np.full((2, first.shape[1]), math.nan)
    for keypoint, known in enumerate(both.T):
        if known.any():
            variances = apart[known, keypoint]
            sigmas[keypoint] = math.sqrt(variances.mean())
            robust[keypoint] = math.sqrt(np.median(variances) / math.log(2))
    return SigmaEstimate(sigmas, robust, both.sum(axis=0))
