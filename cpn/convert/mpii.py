"""MPII Human Pose: its own MATLAB file, and the JSON files that are used for its validation set."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from cpn.coco.records import Coordinate, FileName
from cpn.coco.strict_json import read_json
from cpn.convert.known import MPII
from cpn.convert.labels import XYWH, FloatArray, Labels, Person, Photo, Wishes, finite, unlabelled
from cpn.convert.matlab import attribute, each, read_matlab, variable
from cpn.errors import UserError, first_line

# "scale" is a person's height in units of this many pixels.
PIXELS_PER_SCALE = 200.0
SUBSETS = {"train": 1, "test": 0}
_COUNT = len(MPII.keypoints)
_EACH = msgspec.Meta(min_length=_COUNT, max_length=_COUNT)
Pair = tuple[Coordinate, Coordinate]


class _Record(msgspec.Struct, frozen=True):
    """A person of train.json, valid.json and their like; coordinates from 1."""

    image: FileName
    center: Pair
    scale: Coordinate
    # test.json has none.
    joints: Annotated[list[Pair], _EACH] = msgspec.field(
        default_factory=lambda: [(0.0, 0.0)] * _COUNT
    )
    joints_vis: Annotated[list[float], _EACH] = msgspec.field(
        default_factory=lambda: [0.0] * _COUNT
    )


def read_mpii(source: Path, wishes: Wishes) -> Labels:
    """People of `mpii_human_pose_v1_u12_1.mat`, or of train.json and valid.json.

    The box is the square around `objpos` with the side that `scale` says, which the benchmark gives
    to those who crop; it is about twice as large as the person, so the area is that of a box around
    the keypoints. Of the test people nothing but the box is published. Coordinates become 0-based.

    Raises:
        UserError: the file is neither, or `subset` or `head_boxes` do not fit it.
    """
    if source.suffix.lower() == ".mat":
        if wishes.head_boxes is not None:
            raise UserError(f"{source}: it has head boxes itself; leave head_boxes out")
        return _read_release(source, SUBSETS.get(wishes.subset or "train", -1), wishes)
    if wishes.subset is not None:
        raise UserError(f"{source}: a JSON file is one subset already; leave subset out")
    return _read_records(source, wishes.head_boxes)


def _read_release(source: Path, in_training: int, wishes: Wishes) -> Labels:
    if in_training < 0:
        raise UserError(f"subset={wishes.subset}: MPII has the subsets {', '.join(SUBSETS)}")
    release = variable(source, read_matlab(source), "RELEASE")
    photos = each(attribute(release, "annolist"))
    chosen = [finite(one) == in_training for one in each(attribute(release, "img_train"))]
    if not photos or len(chosen) != len(photos):
        raise UserError(
            f"{source}: not MPII's file: RELEASE has {len(photos)} photos in annolist and"
            f" {len(chosen)} numbers in img_train"
        )
    labels = Labels(MPII)
    for number, annotated in enumerate(photos):
        if not chosen[number]:
            continue
        where = f"{source}: annolist({number + 1})"
        name = attribute(annotated, "image", "name")
        if not isinstance(name, str) or not name:
            raise UserError(f"{where}.image has no name")
        video = finite(attribute(annotated, "vididx"))
        labels.photos.append(Photo(name, video=None if video is None else f"video {video:g}"))
        try:
            for rectangle in each(attribute(annotated, "annorect")):
                _add(labels, rectangle, is_test=not in_training)
        except (AttributeError, IndexError, TypeError, ValueError, OverflowError) as error:
            raise UserError(
                f"{where}.annorect is not as MPII has it: {first_line(error)}"
            ) from error
    return labels


def _add(labels: Labels, rectangle: Any, *, is_test: bool) -> None:  # noqa: ANN401 - of MATLAB
    keypoints = _release_keypoints(rectangle)
    if not is_test and not keypoints[:, 2].any():
        labels.dropped["no keypoints"] += 1
        return
    place, scale = attribute(rectangle, "objpos"), finite(attribute(rectangle, "scale"))
    box = None
    if place is not None and scale is not None:
        box = _square(float(place.x) - 1, float(place.y) - 1, scale)
    labels.people.append(
        Person(
            photo=len(labels.photos) - 1,
            keypoints=keypoints,
            box_xywh=box,
            box_is_loose=True,
            head_box_xywh=_head_box([finite(attribute(rectangle, n)) for n in _HEAD_FIELDS]),
        )
    )


_HEAD_FIELDS = ("x1", "y1", "x2", "y2")


def _release_keypoints(rectangle: Any) -> FloatArray:  # noqa: ANN401
    keypoints = unlabelled(_COUNT)
    for point in each(attribute(rectangle, "annopoints", "point")):
        # Empty for the ends of head and neck, which nobody asked about: they count as visible.
        hidden = finite(attribute(point, "is_visible")) == 0
        if point.id not in range(_COUNT):
            raise ValueError(f"a point has id {point.id}")
        keypoints[int(point.id)] = (float(point.x) - 1, float(point.y) - 1, 1 if hidden else 2)
    return keypoints


def _head_box(corners: list[float | None]) -> XYWH | None:
    """The box of a head from its corners, in 1-based pixels; they may be in any order."""
    known = [value for value in corners if value is not None]
    if len(known) != 4:
        return None
    (x0, x1), (y0, y1) = sorted(known[::2]), sorted(known[1::2])
    return x0 - 1, y0 - 1, x1 - x0, y1 - y0


def _square(x: float, y: float, scale: float) -> XYWH:
    side = PIXELS_PER_SCALE * scale
    return x - side / 2, y - side / 2, side, side


def _read_records(source: Path, head_boxes: Path | None) -> Labels:
    records = read_json(source, list[_Record])
    heads = [None] * len(records) if head_boxes is None else _read_heads(head_boxes, len(records))
    names = sorted({record.image for record in records})
    position = {name: index for index, name in enumerate(names)}
    people = []
    for record, head in zip(records, heads, strict=True):
        keypoints = unlabelled(_COUNT)
        shown = np.array(record.joints_vis) > 0
        keypoints[shown, :2] = np.array(record.joints)[shown] - 1
        keypoints[shown, 2] = 2
        box = _square(record.center[0] - 1, record.center[1] - 1, record.scale)
        photo = position[record.image]
        people.append(Person(photo, keypoints, box, head_box_xywh=head, box_is_loose=True))
    return Labels(MPII, [Photo(name) for name in names], people, Counter())


def _read_heads(path: Path, count: int) -> list[XYWH | None]:
    """Boxes of gt_valid.mat, in valid.json's order: (2 corners, x and y, N)."""
    corners = np.asarray(variable(path, read_matlab(path), "headboxes_src"), dtype=np.float64)
    if corners.reshape(*corners.shape[:2], -1).shape != (2, 2, count):
        raise UserError(
            f"{path}: headboxes_src is {corners.shape}, for {count} people it must be"
            f" (2, 2, {count}); give the file of the same people"
        )
    return [_head_box(list(row)) for row in corners.reshape(4, count).T.tolist()]
