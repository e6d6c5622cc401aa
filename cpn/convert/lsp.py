"""Leeds Sports Pose and its extended training set: one person per photo, `joints.mat`."""

from pathlib import Path

import numpy as np

from cpn.convert.known import LSP
from cpn.convert.labels import FloatArray, Labels, Person, Photo, Wishes
from cpn.convert.matlab import read_matlab, variable
from cpn.errors import UserError

_COUNT = len(LSP.keypoints)


def read_lsp(source: Path, wishes: Wishes) -> Labels:
    """LSP's 2,000 photos, or the 10,000 of LSP extended (LSPET), told apart by the array's shape.

    LSP's third number is 1 for a hidden joint, which is labelled all the same; LSPET's is 1 for a
    visible one, and what it does not mark is not labelled. Coordinates become 0-based.

    Args:
        source: joints.mat.
        wishes: `subset`: LSP's train (the first half) or test (the second); None: all.

    Raises:
        UserError: the file is another, or LSPET is asked for a subset.
    """
    joints = np.asarray(variable(source, read_matlab(source), "joints"), dtype=np.float64)
    if joints.ndim == 2:  # a single photo
        joints = joints[..., None]
    if joints.shape[:2] == (3, _COUNT):
        keypoints, names = _lsp(joints), "im{:04d}.jpg"
    elif joints.shape[:2] == (_COUNT, 3):
        keypoints, names = _extended(joints), "im{:05d}.jpg"
    else:
        raise UserError(
            f"{source}: 'joints' is {joints.shape}; LSP's is (3, 14, 2000), LSPET's (14, 3, 10000)"
        )
    labels = Labels(LSP)
    for number in _chosen(source, wishes.subset, joints):
        labels.photos.append(Photo(names.format(number + 1)))
        if not keypoints[number, :, 2].any():
            labels.dropped["no keypoints"] += 1
            continue
        labels.people.append(Person(len(labels.photos) - 1, keypoints[number]))
    return labels


def _lsp(joints: FloatArray) -> FloatArray:
    keypoints = joints.transpose(2, 1, 0).copy()
    keypoints[..., :2] -= 1
    keypoints[..., 2] = np.where(keypoints[..., 2] > 0, 1, 2)
    return keypoints


def _extended(joints: FloatArray) -> FloatArray:
    keypoints = joints.transpose(2, 0, 1).copy()
    labelled = keypoints[..., 2] > 0
    keypoints[..., :2] -= 1
    keypoints[..., 2] = 2
    keypoints[~labelled] = 0
    return keypoints


def _chosen(source: Path, subset: str | None, joints: FloatArray) -> range:
    count = joints.shape[2]
    if subset is None:
        return range(count)
    if joints.shape[0] != 3:
        raise UserError(f"{source}: LSP extended is for training alone; leave subset out")
    if subset not in {"train", "test"}:
        raise UserError(f"subset={subset}: LSP has the subsets train, test")
    return range(count // 2) if subset == "train" else range(count // 2, count)
