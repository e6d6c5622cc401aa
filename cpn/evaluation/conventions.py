"""What benchmarks report beside COCO's ten numbers: PCK and PCKh, CrowdPose's levels of crowding.

Each is told by what the annotation file has: PCKh as MPII defines it where people have head boxes,
levels where photos have a crowd index.
"""

from collections.abc import Callable, Collection

import numpy as np
import numpy.typing as npt

from cpn.evaluation.ground_truth import GroundTruth
from cpn.evaluation.pck import TORSO, head_of, pck
from cpn.skeleton import Skeleton

FloatArray = npt.NDArray[np.float64]

# The crowd indices that part easy, medium and hard photos in CrowdPose's evaluation program, and so
# in the figures of papers; the paper's text (Li et al., CVPR 2019, section 4) says 0.1 for 0.2.
CROWD_LIMITS = {"easy": 0.2, "medium": 0.8, "hard": float("inf")}
# MPII's evaluation (Andriluka et al., CVPR 2014) measures by 0.6 of a head box's diagonal, leaves
# these two out, and names the others by part.
HEAD_SHARE = 0.6
MPII_UNCOUNTED = ("pelvis", "thorax")
MPII_PARTS = {
    "head": ("upper_neck", "head_top"),
    "shoulder": ("left_shoulder", "right_shoulder"),
    "elbow": ("left_elbow", "right_elbow"),
    "wrist": ("left_wrist", "right_wrist"),
    "hip": ("left_hip", "right_hip"),
    "knee": ("left_knee", "right_knee"),
    "ankle": ("left_ankle", "right_ankle"),
}


def crowd_levels(truth: GroundTruth) -> dict[str, set[int]]:
    """The ids of easy, medium and hard photos; empty where one has no crowd index."""
    known = truth.crowd_index
    if not known or any(image_id not in known for image_id in truth.image_ids):
        return {}
    levels: dict[str, set[int]] = {name: set() for name in CROWD_LIMITS}
    for image_id in truth.image_ids:
        index = known[image_id]
        levels[next(name for name, limit in CROWD_LIMITS.items() if index < limit)].add(image_id)
    return levels


def average_precision_by_crowding(
    truth: GroundTruth, average_precision: Callable[[Collection[int]], float]
) -> dict[str, float]:
    """CrowdPose's AP-easy, AP-medium and AP-hard.

    Args:
        truth: the ground truth.
        average_precision: AP over the images of some ids.

    Returns:
        The AP of each level, NaN of one without photos; empty where `crowd_levels` is.
    """
    return {
        f"AP-{name}": average_precision(image_ids) if image_ids else float("nan")
        for name, image_ids in crowd_levels(truth).items()
    }


def head_lengths(truth: GroundTruth, annotation_ids: npt.NDArray[np.int64]) -> FloatArray | None:
    """(N,) what PCKh measures by, NaN for people without a head box; None if nobody has one."""
    lengths = np.array([truth.head_sizes.get(one, np.nan) for one in annotation_ids.tolist()])
    return None if np.isnan(lengths).all() else HEAD_SHARE * lengths


def pck_metrics(
    points: FloatArray,
    ground_truths: FloatArray,
    skeleton: Skeleton,
    heads: FloatArray | None = None,
) -> dict[str, float]:
    """PCK@0.2 of the torso with its AUC, and PCKh@0.5 where heads are marked.

    With head boxes it is MPII's PCKh, and PCKh@0.1 and that of each part come with it; without, the
    head is as long as the keypoints of head and neck are apart.

    Args:
        points: (N, K, 2) predictions.
        ground_truths: (N, K, 3) x, y, v.
        skeleton: NaN for one without shoulders and hips: it has no torso.
        heads: see `head_lengths`.
    """
    metrics = {"PCK": float("nan"), "PCK-AUC": float("nan")}
    if TORSO.fits(skeleton):
        torso = pck(points, ground_truths, skeleton=skeleton)
        metrics = {"PCK": torso.value, "PCK-AUC": torso.area}
    if heads is not None:
        return metrics | _mpii_metrics(points, ground_truths, skeleton, heads)
    if (yardstick := head_of(skeleton)) is not None:
        head = pck(points, ground_truths, skeleton=skeleton, fraction=0.5, yardstick=yardstick)
        metrics |= {"PCKh": head.value, "PCKh-AUC": head.area}
    return metrics


def _mpii_metrics(
    points: FloatArray, ground_truths: FloatArray, skeleton: Skeleton, heads: FloatArray
) -> dict[str, float]:
    names = skeleton.keypoint_names
    lengths = np.nan_to_num(heads)

    def share(keypoints: Collection[str], fraction: float) -> dict[str, float]:
        counted = ground_truths.copy()
        counted[:, [k for k, name in enumerate(names) if name not in keypoints]] = 0
        found = pck(points, counted, skeleton=skeleton, fraction=fraction, yardstick=lengths)
        return {"value": found.value, "area": found.area}

    all_counted = [name for name in names if name not in MPII_UNCOUNTED]
    half, tenth = share(all_counted, 0.5), share(all_counted, 0.1)
    parts = {
        f"PCKh-{part}": share(keypoints, 0.5)["value"]
        for part, keypoints in MPII_PARTS.items()
        if set(keypoints) <= set(names)
    }
    whole = {"PCKh": half["value"], "PCKh@0.1": tenth["value"], "PCKh-AUC": half["area"]}
    return whole | parts
