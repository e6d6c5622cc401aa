"""What the training and the validation split must not, and must, have in common."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest

from cpn.data.inspection.finding import Finding


def inspect_together(
    names: Sequence[Sequence[str]], photos: Sequence[Mapping[str, str]]
) -> list[Finding]:
    """Compares two splits.

    Args:
        names: keypoint names of the one and of the other.
        photos: their photos' names by what makes a photo the same, as the digest of its content.
    """
    return [*_other_keypoints(*names), *inspect_shared_photos(*photos)]


def _other_keypoints(train: Sequence[str], val: Sequence[str]) -> list[Finding]:
    pairs = enumerate(zip_longest(train, val, fillvalue="no more"), start=1)
    differences = [(number, one, other) for number, (one, other) in pairs if one != other]
    if not differences:
        return []
    number, one, other = differences[0]
    what = f"keypoint {number} is '{one}' in train and '{other}' in val"
    return [Finding("error", what, "both need the same keypoints in the same order")]


def inspect_shared_photos(
    train: Mapping[str, str], val: Mapping[str, str], *, trained: str = "train"
) -> list[Finding]:
    """Photos that are trained on and evaluated on.

    Args:
        train: names of photos by what makes a photo the same.
        val: those of the validation split.
        trained: the name of the former.
    """
    shared = tuple(name for key, name in train.items() if key in val)
    if not shared:
        return []
    what = f"it is in {trained} and in val"
    advice = "take it out of one, or the AP says how well photos are learned by heart"
    return [Finding("warning", what, advice, shared, "photo")]
