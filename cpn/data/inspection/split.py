"""All checks of one split, and what it is in figures."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cpn.coco.annotation_file import AnnotationFile
from cpn.coco.records import CocoPhoto
from cpn.coco.salvage import salvage_annotation_file
from cpn.data.annotations import require_keypoint_names
from cpn.data.inspection.finding import Finding
from cpn.data.inspection.keypoint_names import KeypointFacts, inspect_keypoint_names
from cpn.data.inspection.layout import inspect_layout
from cpn.data.inspection.people import has_box, inspect_people, labelled
from cpn.data.inspection.records import (
    describe_flaws,
    everybody,
    inspect_empty_photos,
    inspect_records,
)
from cpn.data.inspection.sides import SideComparison, compare_sides, pair_name
from cpn.data.persons import PersonInstances
from cpn.skeleton import GivenSigmas


class KeypointShare(NamedTuple):
    """How often a keypoint is there.

    Attributes:
        name: of the keypoint.
        labelled: share of the people with a labelled keypoint at all.
        visible: share of these labelled ones.
        sigma: its OKS constant; None if unknown.
    """

    name: str
    labelled: float
    visible: float
    sigma: float | None


@dataclass(frozen=True)
class SplitReport:
    """What is to be said of a split.

    Attributes:
        source: its annotation file.
        photos: all that are sound.
        needed: ids of those with somebody to crop.
        facts: figures in words, by topic.
        keypoints: shares, K.
        findings: of the records; photos are looked at by `inspect_photos`.
    """

    source: Path
    photos: tuple[CocoPhoto, ...]
    needed: frozenset[int]
    facts: dict[str, str]
    keypoints: tuple[KeypointShare, ...]
    findings: tuple[Finding, ...]


def inspect_split(
    path: Path,
    folder: Path,
    *,
    sigmas: GivenSigmas,
    flip_pairs: list[tuple[str, str]] | None,
    needs_area: bool,
) -> SplitReport:
    """Looks through an annotation file.

    Args:
        path: the file.
        folder: of the photos.
        sigmas: `data.sigmas`.
        flip_pairs: `data.flip_pairs`.
        needs_area: the split is evaluated on.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is not JSON, lacks a list, or the person category is unclear or names no
            keypoints.
    """
    file, categories, flaws = salvage_annotation_file(path)
    require_keypoint_names(file)
    people = everybody(file, folder)
    names = inspect_keypoint_names(file, sigmas, flip_pairs)
    sides = compare_sides(people, names.names, names.sided)
    findings = [
        *describe_flaws(flaws),
        *names.findings,
        *inspect_records(file, categories, needs_area=needs_area),
        *([] if flaws else inspect_empty_photos(file)),
        *(inspect_layout(people) or [*inspect_people(people), *sides.findings]),
    ]
    if not (has_box(people) & labelled(people).any(axis=1)).any():
        what = "nobody has a box and labelled keypoints"
        findings.append(Finding("error", what, "there is nothing to train on"))
    # Whose photos those of broken records are is unknown: then all count as needed.
    needed = file.images if flaws else people.image_ids[has_box(people)].tolist()
    return SplitReport(
        source=path,
        photos=tuple(file.images.values()),
        needed=frozenset(needed),
        facts=_facts(file, people, names, sides),
        keypoints=_shares(people, names),
        findings=tuple(findings),
    )


def _facts(
    file: AnnotationFile[CocoPhoto],
    people: PersonInstances,
    names: KeypointFacts,
    sides: SideComparison,
) -> dict[str, str]:
    usable = has_box(people) & labelled(people).any(axis=1)
    taken = f"{usable.sum():,} with box and keypoints, of {len(file.annotations):,} annotations"
    facts = {
        "photos": f"{len(file.images):,}{_photo_sizes(list(file.images.values()))}",
        "people": taken,
        "boxes": _box_sizes(people),
        "keypoints": _keypoint_count(people, len(names.names)),
        "sigmas": names.sigmas,
        "flip pairs": names.flip_pairs,
        "left/right": sides.how,
    }
    if sides.pairs:
        shares = (f"{pair_name(pair.left)} {pair.share:.0%}" for pair in sides.pairs)
        facts["left/right"] += f": {', '.join(shares)}"
    return facts


def _photo_sizes(photos: list[CocoPhoto]) -> str:
    if not photos:
        return ""
    sizes = sorted((photo.width * photo.height, photo.width, photo.height) for photo in photos)
    texts = [f"{w} x {h}" for _, w, h in (sizes[0], sizes[len(sizes) // 2], sizes[-1])]
    if texts[0] == texts[2]:
        return f", all {texts[0]} pixels"
    return f"; width x height from {texts[0]} to {texts[2]} pixels, median {texts[1]}"


def _box_sizes(people: PersonInstances) -> str:
    heights = people.boxes_xywh[has_box(people), 3]
    if not heights.size:
        return "none"
    low, median, high = np.percentile(heights, (5, 50, 95))
    return f"{median:.0f} pixels high (median; 90 % are {low:.0f} to {high:.0f})"


def _keypoint_count(people: PersonInstances, num_keypoints: int) -> str:
    known = labelled(people)
    counts = known.sum(axis=1)[known.any(axis=1)]
    mean = f", {counts.mean():.1f} labelled of a person" if counts.size else ""
    return f"{num_keypoints} names{mean}"


def _shares(people: PersonInstances, names: KeypointFacts) -> tuple[KeypointShare, ...]:
    known = labelled(people)
    visible = (people.keypoints[..., 2] == 2).sum(axis=0)
    count = known.sum(axis=0)
    total = max(1, int(known.any(axis=1).sum()))
    return tuple(
        KeypointShare(
            name,
            labelled=float(count[k] / total),
            visible=float(visible[k] / max(1, count[k])),
            sigma=names.sigma_values[k] if names.sigma_values is not None else None,
        )
        for k, name in enumerate(names.names)
    )
