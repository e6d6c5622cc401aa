"""Whether left and right look exchanged.

"Left" is the person's own. Of a person who stands upright and faces the camera the left side is at
the larger x: where nose and eyes are visible, and the nose is above the shoulders, each pair can be
judged. Without faces, pairs can only be compared with each other: a set that is exchanged as a
whole looks like people seen from behind.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cpn.data.inspection.finding import Finding
from cpn.data.persons import FloatArray, PersonInstances

MIN_PEOPLE = 20
# Measured on real and generated people: 0.96 to 1 for eyes, ears, shoulders and hips, down to 0.73
# for ankles.
EXCHANGED, MIXED = 0.5, 0.8
TRUNK_WORDS = ("eye", "ear", "shoulder", "hip")
REFERENCE_WORDS = ("hip", "shoulder")
ADVICE = "left is the person's own left: look at some pictures and mend the names or the points"


@dataclass(frozen=True)
class PairShare:
    """How often a pair lies as expected.

    Attributes:
        left: the name of its left keypoint.
        right: of its right one.
        people: how many could be judged.
        share: of these, those with the left one where it should be.
    """

    left: str
    right: str
    people: int
    share: float


@dataclass(frozen=True)
class SideComparison:
    """What was compared, and how it came out.

    Attributes:
        how: in words.
        pairs: of these with at least one person to judge.
        findings: pairs that look exchanged.
    """

    how: str
    pairs: tuple[PairShare, ...]
    findings: tuple[Finding, ...]


def compare_sides(
    people: PersonInstances, names: Sequence[str], pairs: Sequence[tuple[int, int]]
) -> SideComparison:
    """Judges every left/right pair over the set.

    Args:
        people: N people.
        names: K keypoint names.
        pairs: 0-based (left, right).
    """
    facing = _faces_camera(people, names, pairs)
    if facing is not None and facing.sum() >= MIN_PEOPLE:
        how = f"of {facing.sum():,} people who face the camera, the left one is at the larger x"
        shares = _shares(people, names, pairs, facing, sign=np.ones(len(people)))
        return SideComparison(how, shares, tuple(_judge(shares)))
    reference = _reference_pair(names, pairs)
    if reference is None:
        return SideComparison("nothing to compare: no pairs", (), ())
    left, right = reference
    offset, both = _offset(people, left, right)
    if not both.any():
        return SideComparison("nobody to compare", (), ())
    how = (
        f"too few faces to judge by; of {both.sum():,} people, the left one lies to the right one"
        f" as {names[left]} to {names[right]}"
    )
    others = [pair for pair in pairs if pair != reference]
    shares = _shares(people, names, others, both & (offset != 0), sign=np.sign(offset))
    return SideComparison(how, shares, tuple(_judge(shares)))


def pair_name(left: str) -> str:
    """'shoulders' of 'left_shoulder'."""
    return left.lower().replace("left", "").strip(" _-.") + "s"


def _judge(shares: Sequence[PairShare]) -> list[Finding]:
    judged = [pair for pair in shares if pair.people >= MIN_PEOPLE]
    exchanged = [pair for pair in judged if pair.share < EXCHANGED]
    mixed = [
        pair
        for pair in judged
        if EXCHANGED <= pair.share < MIXED
        and any(word in pair.left.lower() for word in TRUNK_WORDS)
    ]
    findings = []
    for pairs, how in ((exchanged, "look exchanged"), (mixed, "look exchanged for some people")):
        if pairs:
            rates = ", ".join(f"{pair_name(pair.left)} {pair.share:.0%}" for pair in pairs)
            what = f"left and right {how}, the right way round are only: {rates}"
            findings.append(Finding("warning", what, ADVICE))
    return findings


def _shares(
    people: PersonInstances,
    names: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    judged: npt.NDArray[np.bool_],
    *,
    sign: FloatArray,
) -> tuple[PairShare, ...]:
    """How often `sign` times the pair's offset is positive, among the people to judge."""
    found = []
    for left, right in pairs:
        offset, both = _offset(people, left, right)
        use = both & judged & (offset != 0)
        if use.any():
            share = float((offset * sign > 0)[use].mean())
            found.append(PairShare(names[left], names[right], int(use.sum()), share))
    return tuple(found)


def _offset(
    people: PersonInstances, left: int, right: int
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """(N,) x of the left keypoint less that of the right one; (N,) both are labelled."""
    one, other = people.keypoints[:, left], people.keypoints[:, right]
    return one[:, 0] - other[:, 0], (one[:, 2] > 0) & (other[:, 2] > 0)


def _faces_camera(
    people: PersonInstances, names: Sequence[str], pairs: Sequence[tuple[int, int]]
) -> npt.NDArray[np.bool_] | None:
    """(N,): nose and eyes are visible, the nose above the shoulders; None without these names."""
    lower = [name.lower() for name in names]
    eyes = next((pair for pair in pairs if "eye" in lower[pair[0]]), None)
    shoulders = next((pair for pair in pairs if "shoulder" in lower[pair[0]]), None)
    if eyes is None or shoulders is None or "nose" not in lower:
        return None
    nose = lower.index("nose")
    points = people.keypoints
    seen = (points[:, [nose, *eyes], 2] == 2).all(axis=1)
    upright = points[:, nose, 1] < points[:, list(shoulders), 1].mean(axis=1)
    return np.asarray(seen & upright & (points[:, list(shoulders), 2] > 0).all(axis=1))


def _reference_pair(
    names: Sequence[str], pairs: Sequence[tuple[int, int]]
) -> tuple[int, int] | None:
    for word in REFERENCE_WORDS:
        for pair in pairs:
            if word in names[pair[0]].lower():
                return pair
    return pairs[0] if pairs else None
