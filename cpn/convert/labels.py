"""What every reader gives: photos and labelled people, before they are a COCO file."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cpn.errors import UserError, one_line

FloatArray = npt.NDArray[np.float64]
XYWH = tuple[float, float, float, float]


@dataclass(frozen=True)
class Category:
    """What is labelled.

    Attributes:
        keypoints: K names, in the order of every person's keypoints.
        limbs: names of the two ends of each line in pictures.
        flip_pairs: (left, right) names that change places in a mirrored photo; None: told by name.
        sigmas: K published constants of OKS; None: nobody published any.
        name: of the category.

    Raises:
        UserError: a keypoint's name stands there twice.
    """

    keypoints: tuple[str, ...]
    limbs: tuple[tuple[str, str], ...] = ()
    flip_pairs: tuple[tuple[str, str], ...] | None = None
    sigmas: tuple[float, ...] | None = None
    name: str = "person"

    def __post_init__(self) -> None:
        """Refuses names that would make two keypoints one."""
        if repeated := [one for one, count in Counter(self.keypoints).items() if count > 1]:
            raise UserError(f"keypoint names that stand there twice: {one_line(repeated)}")


class Photo(NamedTuple):
    """One photo.

    Attributes:
        file_name: as it will be looked for, below the folder of photos.
        size_hw: in pixels; None: to be read from the photo.
        id: of the source; None: to be numbered.
        crowd_index: CrowdPose's measure of how people overlap, 0 to 1.
        video: photos of one look alike; None: those of one folder do.
    """

    file_name: str
    size_hw: tuple[int, int] | None = None
    id: int | None = None
    crowd_index: float | None = None
    video: str | None = None


@dataclass(frozen=True, eq=False)
class Person:
    """One labelled person or animal.

    Attributes:
        photo: index of the photo.
        keypoints: (K, 3) x, y in pixels from 0, and v as COCO's: 0 not labelled, 1 hidden, 2
            visible.
        box_xywh: None: to be made from the keypoints.
        area: of the body in square pixels; None: to be made from the box.
        is_crowd: COCO's iscrowd.
        id: of the source; None: to be numbered.
        head_box_xywh: which PCKh measures by.
        box_is_loose: it says where the person is, not how large: the area comes from the keypoints.
    """

    photo: int
    keypoints: FloatArray
    box_xywh: XYWH | None = None
    area: float | None = None
    is_crowd: bool = False
    id: int | None = None
    head_box_xywh: XYWH | None = None
    box_is_loose: bool = False


@dataclass(frozen=True)
class Labels:
    """What a source holds.

    Attributes:
        category: the only one; sources of several are merged or refused by their readers.
        photos: those without people, too.
        people: of these photos.
        dropped: how many records were left out, by reason.
        notes: what was inferred, one line each, for the person who converts.
    """

    category: Category
    photos: list[Photo] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


class Wishes(NamedTuple):
    """What a person may ask of a conversion; every reader takes some of it.

    Attributes:
        images: folder of the photos, for sources that do not know their sizes.
        subset: of the source.
        keypoints: names that the source does not have, or their order.
        parts: of the body.
        head_boxes: a file of them.
    """

    images: Path | None = None
    subset: str | None = None
    keypoints: tuple[str, ...] | None = None
    parts: tuple[str, ...] | None = None
    head_boxes: Path | None = None


def unlabelled(count: int) -> FloatArray:
    """(K, 3) zeros: nothing is labelled."""
    return np.zeros((count, 3))


def finite(value: Any) -> float | None:  # noqa: ANN401 - any cell of a file
    """A number, or None where there is none: an empty cell, a word, NaN or infinity."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None
