"""The quick part: what can be told of people who were read for training, within a second."""

import numpy as np

from cpn.data.annotations import PersonAnnotations
from cpn.data.image_files import WAY_OUT, read_annotated_image
from cpn.data.inspection.finding import Finding
from cpn.data.inspection.keypoint_names import inspect_flip_pairs
from cpn.data.inspection.layout import inspect_layout
from cpn.data.inspection.people import inspect_people
from cpn.data.inspection.sides import compare_sides
from cpn.data.inspection.splits import inspect_together
from cpn.errors import UserError
from cpn.skeleton import sided_pairs

PHOTOS_LOOKED_AT = 8
# Of the labelled keypoints that are inside.
MANY_OUTSIDE = 0.05


def inspect_training_set(
    train: PersonAnnotations, val: PersonAnnotations | None, *, train_photos: bool
) -> list[Finding]:
    """Looks at the arrays of both splits and at a few photos.

    Args:
        train: who is trained on.
        val: who is evaluated on; None: nobody to look at.
        train_photos: training reads photos, not a crop cache, and all of them have to be right.
    """
    findings = _inspect(train, photos=train_photos)
    if val is None:
        return findings
    if val.path != train.path:
        findings += _inspect(val, photos=True)
    names = train.skeleton.keypoint_names, val.skeleton.keypoint_names
    return findings + inspect_together(names, (_paths(train), _paths(val)))


def _inspect(people: PersonAnnotations, *, photos: bool) -> list[Finding]:
    instances = people.instances
    names = people.skeleton.keypoint_names
    mirrored = [(names[left], names[right]) for left, right in people.skeleton.flip_pairs]
    pairs = [(names.index(left), names.index(right)) for left, right in sided_pairs(names)[0]]
    return [
        *inspect_layout(instances),
        *inspect_people(instances),
        *inspect_flip_pairs(names, mirrored),
        *compare_sides(instances, names, pairs).findings,
        *_dropped(people),
        *(_few_photos(people) if photos else []),
    ]


def _dropped(people: PersonAnnotations) -> list[Finding]:
    """More people are left out than are used, or many of their keypoints are."""
    counts, used = people.dropped, len(people.instances)
    found = []
    lost = sum(counts[reason] for reason in ("too few labelled keypoints", "box without area"))
    if lost > used:
        what = f"{people.path}: {lost} people are left out and {used} are used"
        found.append(Finding("warning", what, "their box or their labelled keypoints are missing"))
    outside = counts["keypoint outside its image, ignored"]
    if outside > MANY_OUTSIDE * (people.instances.keypoints[..., 2] > 0).sum():
        what = f"{people.path}: {outside} labelled keypoints lie outside their photos"
        found.append(Finding("warning", what, "they are ignored: are x and y those of the photo?"))
    return found


def _few_photos(people: PersonAnnotations) -> list[Finding]:
    """Decodes some, evenly spaced; the rule is the loader's."""
    count = len(people.instances)
    rows = np.unique(np.linspace(0, count - 1, PHOTOS_LOOKED_AT).astype(int))
    for row in rows.tolist():
        try:
            read_annotated_image(people.instances[row])
        except UserError as error:
            return [Finding.of_error(error, WAY_OUT)]
    return []


def _paths(people: PersonAnnotations) -> dict[str, str]:
    folder = people.instances.image_folder.resolve()
    names = {name.decode() for name in people.instances.file_names.tolist()}
    return {f"{folder}/{name}": name for name in sorted(names)}
