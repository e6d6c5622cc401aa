"""Keypoint names, flip pairs, limbs and OKS sigmas: the only place where they exist."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from cpn.errors import UserError

# K numbers; "default": `default_sigmas`; None: known by COCO's 17 names, or not at all.
GivenSigmas = Sequence[float] | Literal["default"] | None
# What CrowdPose's evaluation gives head and neck, which COCO has not.
OTHER_SIGMA = 0.079
LOWER_BODY_WORDS = ("hip", "knee", "ankle", "foot", "toe", "heel")


@dataclass(frozen=True)
class Skeleton:
    """The keypoints of one person category.

    Attributes:
        keypoint_names: K names, in the order of every array of keypoints.
        flip_pairs: 0-based (left, right) pairs that change places in a mirrored image.
        limbs: 0-based pairs of keypoints that are joined by a line in pictures.
        sigmas: K per-keypoint constants of OKS (COCO keypoint evaluation, "k_i = 2 sigma_i").

    Raises:
        ValueError: names are empty or repeated, an index is out of range, a keypoint is in two flip
            pairs, or the sigmas are not K positive numbers.
    """

    keypoint_names: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    limbs: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]

    def __post_init__(self) -> None:
        names = self.keypoint_names
        if not names or len(set(names)) != len(names) or not all(names):
            raise ValueError(f"keypoint names must be non-empty and different, got {list(names)}")
        _check_pairs("flip pair", self.flip_pairs, self.num_keypoints)
        _check_pairs("limb", self.limbs, self.num_keypoints)
        paired = [index for pair in self.flip_pairs for index in pair]
        if len(set(paired)) != len(paired):
            raise ValueError(f"a keypoint is in two flip pairs: {list(self.flip_pairs)}")
        if len(self.sigmas) != len(names):
            raise ValueError(f"{len(names)} keypoints need {len(names)} sigmas: {self.sigmas}")
        if not all(math.isfinite(sigma) and sigma > 0 for sigma in self.sigmas):
            raise ValueError(f"sigmas must be positive and finite, got {list(self.sigmas)}")

    @property
    def num_keypoints(self) -> int:
        """K."""
        return len(self.keypoint_names)

    @property
    def flip_permutation(self) -> tuple[int, ...]:
        """K indices: `keypoints[flip_permutation]` has left and right exchanged. An involution."""
        permutation = list(range(self.num_keypoints))
        for left, right in self.flip_pairs:
            permutation[left], permutation[right] = right, left
        return tuple(permutation)

    @property
    def lower_body(self) -> tuple[int, ...]:
        """Indices of hips, knees, ankles and feet, told by their names."""
        return tuple(k for k, name in enumerate(self.keypoint_names) if _is_lower_body(name))

    @property
    def upper_body(self) -> tuple[int, ...]:
        """Indices of all keypoints that are not `lower_body`."""
        return tuple(k for k, name in enumerate(self.keypoint_names) if not _is_lower_body(name))

    @property
    def unpaired_sided_names(self) -> tuple[str, ...]:
        """Names with a counterpart on the other side that are in no flip pair.

        Mirroring would mislabel them.
        """
        paired = {index for pair in self.flip_pairs for index in pair}
        known = {name.lower() for name in self.keypoint_names}
        return tuple(
            name
            for k, name in enumerate(self.keypoint_names)
            if k not in paired and _other_side(name) in known
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, strings and numbers, as written in checkpoints."""
        return {
            "keypoint_names": list(self.keypoint_names),
            "flip_pairs": [list(pair) for pair in self.flip_pairs],
            "limbs": [list(pair) for pair in self.limbs],
            "sigmas": list(self.sigmas),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            ValueError: a key is missing or unknown, or a value is refused by the class.
        """
        expected = {"keypoint_names", "flip_pairs", "limbs", "sigmas"}
        if set(values) != expected:
            raise ValueError(f"skeleton needs the keys {sorted(expected)}, got {sorted(values)}")
        return cls(
            keypoint_names=tuple(str(name) for name in values["keypoint_names"]),
            flip_pairs=tuple((int(a), int(b)) for a, b in values["flip_pairs"]),
            limbs=tuple((int(a), int(b)) for a, b in values["limbs"]),
            sigmas=tuple(float(sigma) for sigma in values["sigmas"]),
        )


def skeleton_from_category(
    category: Mapping[str, Any],
    *,
    source: str,
    sigmas: GivenSigmas = None,
    flip_pairs: Sequence[tuple[str, str]] | None = None,
) -> Skeleton:
    """The skeleton of a COCO person category.

    Args:
        category: has `keypoints` (names) and, optionally, `skeleton` (1-based limbs), `sigmas`
            (K) and `flip_pairs` (by names).
        source: what to name in errors, normally the annotation file.
        sigmas: OKS constants; None: COCO's for its 17 names, else the category's. "default":
            `default_sigmas`.
        flip_pairs: pairs of names; None: the category's, else names that differ by left/right
            alone.

    Raises:
        UserError: the category has no usable keypoints, or sigmas or flip pairs cannot be told.
    """
    names = tuple(category.get("keypoints") or ())
    if not names:
        raise UserError(f"{source}: the person category has no 'keypoints' names")
    limbs = tuple((a - 1, b - 1) for a, b in category.get("skeleton") or ())
    if names == COCO_17.keypoint_names:
        limbs = limbs or COCO_17.limbs
        sigmas = COCO_17.sigmas if sigmas is None else sigmas
    if sigmas is None:
        sigmas = category.get("sigmas")
    if flip_pairs is None:
        flip_pairs = category.get("flip_pairs")
    if sigmas is None:
        raise UserError(
            f"{source}: keypoints {list(names)} are not COCO's 17, so their OKS sigmas are unknown;"
            f" set sigmas=[…] (data.sigmas in train.py) to {len(names)} numbers, which"
            " scripts/estimate_sigmas.py measures; or train with data.sigmas=default, and compare"
            " the AP with nobody's"
        )
    if sigmas == "default":
        sigmas = default_sigmas(names)
    pairs = _infer_flip_pairs(names, source) if flip_pairs is None else flip_pairs
    try:
        return Skeleton(names, _pair_indices(names, pairs, source), limbs, tuple(sigmas))
    except UserError:
        raise
    except ValueError as error:
        hint = "check the category, sigmas=[…] (data.sigmas in train.py) and data.flip_pairs"
        raise UserError(f"{source}: {error}; {hint}") from error


def default_sigmas(names: Sequence[str]) -> tuple[float, ...]:
    """COCO's sigma of every keypoint that has one of COCO's names, `OTHER_SIGMA` of the others.

    Enough to see an AP move, no figure to publish: nobody measured them on these keypoints.
    """
    known = dict(zip(COCO_17.keypoint_names, COCO_17.sigmas, strict=True))
    return tuple(known.get(name, OTHER_SIGMA) for name in names)


def sided_pairs(names: Sequence[str]) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Pairs of names that differ only by left/right, the left one first.

    Returns:
        The pairs; and the sided names without counterpart, each with what that would be called.
    """
    by_lower = {name.lower(): name for name in names}
    pairs, alone = [], {}
    for name in names:
        other = _other_side(name)
        if other is None:
            continue
        if other not in by_lower:
            alone[name] = other
        elif "left" in name.lower():
            pairs.append((name, by_lower[other]))
    return pairs, alone


def _infer_flip_pairs(names: Sequence[str], source: str) -> list[tuple[str, str]]:
    pairs, alone = sided_pairs(names)
    for name, other in alone.items():
        raise UserError(
            f"{source}: keypoint '{name}' has no counterpart '{other}'; name the pairs that change"
            " places in a mirrored image in data.flip_pairs"
        )
    return pairs


def _other_side(name: str) -> str | None:
    """The lower-case name of the mirrored keypoint, None for a name without a side."""
    lower = name.lower()
    if "left" in lower:
        return lower.replace("left", "right")
    return lower.replace("right", "left") if "right" in lower else None


def _is_lower_body(name: str) -> bool:
    return any(word in name.lower() for word in LOWER_BODY_WORDS)


def _pair_indices(
    names: tuple[str, ...], pairs: Sequence[tuple[str, str]], source: str
) -> tuple[tuple[int, int], ...]:
    unknown = [name for pair in pairs for name in pair if name not in names]
    if unknown:
        raise UserError(
            f"{source}: data.flip_pairs names unknown keypoints {unknown}; known: {list(names)}"
        )
    return tuple((names.index(left), names.index(right)) for left, right in pairs)


def _check_pairs(what: str, pairs: tuple[tuple[int, int], ...], count: int) -> None:
    for pair in pairs:
        if pair[0] == pair[1] or not all(0 <= index < count for index in pair):
            raise ValueError(f"{what} {pair} needs two different indices in 0..{count - 1}")


COCO_17 = Skeleton(
    keypoint_names=(
        "nose",
        "left_eye",
        "right_eye",
        "left_ear",
        "right_ear",
        "left_shoulder",
        "right_shoulder",
        "left_elbow",
        "right_elbow",
        "left_wrist",
        "right_wrist",
        "left_hip",
        "right_hip",
        "left_knee",
        "right_knee",
        "left_ankle",
        "right_ankle",
    ),
    flip_pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    limbs=(
        *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7)),
        *((6, 8), (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
    ),
    sigmas=(
        *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072),
        *(0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
    ),
)
