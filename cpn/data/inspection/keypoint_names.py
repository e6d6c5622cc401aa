"""Keypoint names, flip pairs and sigmas: what is known of them, and from where."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from cpn.coco.annotation_file import AnnotationFile, own_constants
from cpn.coco.records import CocoPhoto
from cpn.data.annotations import file_skeleton
from cpn.data.inspection.finding import Finding
from cpn.errors import UserError
from cpn.skeleton import COCO_17, OTHER_SIGMA, GivenSigmas, sided_pairs

# The letter alone between separators, or before a capital at the start.
ABBREVIATED_LEFT = re.compile(r"(?<![^\W_])[Ll](?![^\W_])|^[Ll](?=[A-Z])")


class KeypointFacts(NamedTuple):
    """What is known of the keypoints of a file.

    Attributes:
        names: K.
        sided: 0-based (left, right) pairs by name.
        sigmas: in words.
        flip_pairs: in words.
        sigma_values: K; None where they are unknown.
        findings: why training refuses them, and what it would mislabel.
    """

    names: tuple[str, ...]
    sided: tuple[tuple[int, int], ...]
    sigmas: str
    flip_pairs: str
    sigma_values: tuple[float, ...] | None
    findings: tuple[Finding, ...]


def inspect_keypoint_names(
    file: AnnotationFile[CocoPhoto],
    sigmas: GivenSigmas,
    flip_pairs: Sequence[tuple[str, str]] | None,
) -> KeypointFacts:
    """Reads the person category as training does.

    Args:
        file: the annotations.
        sigmas: `data.sigmas`.
        flip_pairs: `data.flip_pairs`.
    """
    names = tuple(file.person.keypoints or ())
    by_name, alone = sided_pairs(names)
    given, mirrored = _given_pairs(file, flip_pairs)
    findings = [] if given is not None else _without_partner(alone)
    pairs = by_name if given is None else given
    findings += inspect_flip_pairs(names, pairs)
    values = None
    origin, mirrored = "unknown", mirrored or f"{len(by_name)} by left and right in the names"
    try:
        # Sided names without partner were told above, all of them.
        skeleton = file_skeleton(file, sigmas, pairs)
    except UserError as error:
        advice = "mend the category in the file"
        findings.append(Finding.of_error(error, advice, source=file.source))
        findings += _other_order(names) if sigmas is None else []
    else:
        values = skeleton.sigmas
        origin = _origin_of_sigmas(names, sigmas)
    sided = tuple((names.index(left), names.index(right)) for left, right in by_name)
    return KeypointFacts(names, sided, origin, mirrored, values, tuple(findings))


def _origin_of_sigmas(names: tuple[str, ...], sigmas: GivenSigmas) -> str:
    if sigmas is None and names != COCO_17.keypoint_names:
        return "the file's own, in its person category"
    if sigmas is None:
        return "COCO's, known by the 17 names"
    if sigmas == "default":
        return f"data.sigmas=default: COCO's by name, {OTHER_SIGMA} of other names, not measured"
    return "from data.sigmas"


def _given_pairs(
    file: AnnotationFile[CocoPhoto], flip_pairs: Sequence[tuple[str, str]] | None
) -> tuple[Sequence[tuple[str, str]] | None, str]:
    """The pairs that somebody has named, and who; None and nothing where names must tell."""
    if flip_pairs is not None:
        return flip_pairs, f"{len(flip_pairs)} from data.flip_pairs"
    try:
        own = own_constants(file.person, file.source).flip_pairs
    except UserError:  # told with the skeleton, which cannot be made then
        return None, ""
    return own, "" if own is None else f"{len(own)} of the file's own, in its person category"


def _without_partner(alone: dict[str, str]) -> list[Finding]:
    if not alone:
        return []
    listed = ", ".join(f"{name} (no {other})" for name, other in alone.items())
    advice = "name the pairs that change places in a mirrored image in data.flip_pairs"
    return [Finding("error", f"keypoints of one side have no partner: {listed}", advice)]


def inspect_flip_pairs(names: Sequence[str], flip_pairs: Sequence[Sequence[str]]) -> list[Finding]:
    """Keypoints that seem to have a side, but keep their name in a mirrored photo.

    Args:
        names: K.
        flip_pairs: names that change places.
    """
    left_over = [name for name in names if not any(name in pair for pair in flip_pairs)]
    pairs = sided_pairs(left_over)[0] + _abbreviated_pairs(left_over)
    if not pairs:
        return []
    what = f"{', '.join(f'{a} and {b}' for a, b in pairs)} do not change places in mirrored photos"
    listed = ",".join(f"[{a},{b}]" for a, b in [*flip_pairs, *pairs])
    return [Finding("warning", what, f"set 'data.flip_pairs=[{listed}]', or flips mislabel them")]


def _abbreviated_pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs such as l_eye and r_eye, eye.L and eye.R, LEye and REye."""
    pairs = [(name, ABBREVIATED_LEFT.sub(_right_letter, name)) for name in names]
    return [(name, other) for name, other in pairs if other != name and other in names]


def _right_letter(left: re.Match[str]) -> str:
    return "R" if left.group() == "L" else "r"


def _other_order(names: tuple[str, ...]) -> list[Finding]:
    """COCO's names in another order: nothing is wrong, but what was trained on COCO differs."""
    if names == COCO_17.keypoint_names or set(names) != set(COCO_17.keypoint_names):
        return []
    what = "the keypoints are COCO's 17 in another order"
    return [Finding("warning", what, "put them in COCO's order, or give data.sigmas in yours")]
