"""Labels as COCO documents: ids, boxes and areas where a source has none, and a validation set."""

import hashlib
from collections import Counter
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import numpy as np

from cpn.coco.records import describe_dropped
from cpn.convert.labels import XYWH, Category, FloatArray, Labels, Person, Photo
from cpn.convert.photos import photo_size
from cpn.errors import UserError, describe_ids

CATEGORY_ID = 1
# Of a person's box that the body covers: what CrowdPose's evaluation takes where there is no mask.
BODY_SHARE = 0.53
HoldOut = Literal["photo", "folder"]


class Documents(NamedTuple):
    """What was converted.

    Attributes:
        train: the COCO document.
        val: of the photos that were held out; None: of none.
        dropped: how many people were left out, by reason.
        boxes_made: how many boxes were made from keypoints.
        share_held_out: of the photos with people, which may not be the one that was asked for.
    """

    train: dict[str, Any]
    val: dict[str, Any] | None
    dropped: Counter[str]
    boxes_made: int
    share_held_out: float


def to_documents(
    labels: Labels,
    *,
    images: Path | None,
    box_margin: float,
    val_share: float = 0.0,
    hold_out: HoldOut = "photo",
    seed: int = 0,
) -> Documents:
    """COCO documents of all people with a labelled keypoint.

    Args:
        labels: of a reader.
        images: folder of the photos; needed where a size is not known.
        box_margin: by which a box around keypoints is larger on each side, as a share of its longer
            side; boxes of the source stay as they are.
        val_share: of the photos with people that go to the second document.
        hold_out: chosen by photo, or by folder or video: photos of one video look alike, and a
            validation set that shares videos with training flatters.
        seed: of the choice, which depends on it and the names alone.

    Raises:
        UserError: a photo whose size is needed is not there, ids or names of photos are repeated,
            or nobody is left.
    """
    _require_different_names(labels.photos)
    photos = [_with_size(photo, images) for photo in labels.photos]
    image_ids = _ids([photo.id for photo in photos], "image")
    annotation_ids = _ids([person.id for person in labels.people], "annotation")
    dropped: Counter[str] = Counter(labels.dropped)
    records, boxes_made = [], 0
    for person, annotation_id in zip(labels.people, annotation_ids, strict=True):
        size = photos[person.photo].size_hw
        _require_finite(person, photos[person.photo])
        around = _clipped(_box_of(person.keypoints, box_margin), size)
        given = _clipped(person.box_xywh, size)
        box = given or around
        if box is None:
            dropped[_why_no_box(person)] += 1
            continue
        boxes_made += given is None
        tight = around if person.box_is_loose and around is not None else box
        image_id = image_ids[person.photo]
        records.append(
            _record(person, box, BODY_SHARE * tight[2] * tight[3], annotation_id, image_id)
        )
    if not records:
        raise UserError(f"nobody is left to be written; left out: {describe_dropped(dropped)}")
    shown = {record["image_id"] for record in records}
    held = _held_out(photos, image_ids, shown, val_share, hold_out, seed)
    images_of = [_image(p, i) for p, i in zip(photos, image_ids, strict=True)]
    train, val = (
        _document(labels.category, images_of, records, chosen)
        for chosen in (set(image_ids) - held, held)
    )
    share = len(held & shown) / len(shown)
    return Documents(train, val if held else None, dropped, boxes_made, share)


def _require_different_names(photos: list[Photo]) -> None:
    counts = Counter(photo.file_name for photo in photos)
    if repeated := [name for name, count in counts.items() if count > 1]:
        raise UserError(
            f"{repeated[0]}: {counts[repeated[0]]} photos would have this name"
            f" ({len(repeated)} such names); set images to a folder that holds all photos, or give"
            " them names of their own"
        )


def _why_no_box(person: Person) -> str:
    if person.box_xywh is None:
        return "no box, and too few keypoints to make one"
    return "a box without area in the photo, and too few keypoints to make one"


def _require_finite(person: Person, photo: Photo) -> None:
    numbers = [
        *person.keypoints.reshape(-1),
        *(person.box_xywh or ()),
        *(person.head_box_xywh or ()),
    ]
    if not np.isfinite(np.array(numbers, dtype=np.float64)).all():
        raise UserError(f"{photo.file_name}: a keypoint or box is not finite; mend the record")


def _with_size(photo: Photo, images: Path | None) -> Photo:
    if photo.size_hw is not None:
        return photo
    if images is None:
        raise UserError(
            f"the size of {photo.file_name} is not in the source; set images to the folder of the"
            " photos"
        )
    return photo._replace(size_hw=photo_size(images / photo.file_name))


def _ids(given: list[int | None], what: str) -> list[int]:
    """The ids of the source where it has them, else numbers from 1."""
    known = [number for number in given if number is not None]
    if len(known) < len(given):
        return list(range(1, 1 + len(given)))
    if repeated := [number for number, count in Counter(known).items() if count > 1]:
        raise UserError(f"{what} ids that stand there twice: {describe_ids(repeated)}")
    return known


def _box_of(keypoints: FloatArray, margin: float) -> XYWH | None:
    """The box around labelled keypoints; None where they span no area."""
    points = keypoints[keypoints[:, 2] > 0, :2]
    if len(points) < 2:
        return None
    low, high = points.min(axis=0), points.max(axis=0)
    more = margin * float((high - low).max())
    (x, y), (w, h) = low - more, high - low + 2 * more
    return float(x), float(y), float(w), float(h)


def _clipped(box: XYWH | None, size_hw: tuple[int, int] | None) -> XYWH | None:
    """What of a box is inside the photo; None for nothing."""
    if box is None or size_hw is None:
        return None
    height, width = size_hw
    x0, y0 = max(box[0], 0.0), max(box[1], 0.0)
    x1, y1 = min(box[0] + box[2], float(width)), min(box[1] + box[3], float(height))
    return (x0, y0, x1 - x0, y1 - y0) if x1 > x0 and y1 > y0 else None


def _record(
    person: Person, box: XYWH, area: float, annotation_id: int, image_id: int
) -> dict[str, Any]:
    keypoints = person.keypoints.copy()
    keypoints[keypoints[:, 2] == 0] = 0
    record: dict[str, Any] = {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": CATEGORY_ID,
        "iscrowd": int(person.is_crowd),
        "bbox": _rounded(box),
        "area": round(area if person.area is None else person.area, 2),
        "num_keypoints": int((keypoints[:, 2] > 0).sum()),
        "keypoints": _rounded(keypoints.reshape(-1).tolist()),
    }
    if person.head_box_xywh is not None:
        record["head_box"] = _rounded(person.head_box_xywh)
    return record


def _rounded(values: Collection[float]) -> list[float | int]:
    """To thousandths of a pixel; whole numbers without a point, as v must be."""
    rounded = np.round(np.array(list(values), dtype=np.float64), 3).tolist()
    return [int(value) if value.is_integer() else value for value in rounded]


def _image(photo: Photo, image_id: int) -> dict[str, Any]:
    height, width = photo.size_hw or (0, 0)
    image: dict[str, Any] = {
        "id": image_id,
        "file_name": photo.file_name,
        "width": width,
        "height": height,
    }
    return image if photo.crowd_index is None else image | {"crowdIndex": photo.crowd_index}


def _held_out(
    photos: list[Photo],
    image_ids: list[int],
    shown: set[int],
    share: float,
    by: HoldOut,
    seed: int,
) -> set[int]:
    """The ids of the photos for validation: groups in the order of a hash, up to the share.

    Only photos in `shown`, those with people, are counted, and groups without any are trained on.
    """
    if not share:
        return set()
    groups: dict[str, set[int]] = {}
    for photo, image_id in zip(photos, image_ids, strict=True):
        groups.setdefault(_group(photo, by), set()).add(image_id)
    sizes = {key: size for key, ids in groups.items() if (size := len(ids & shown))}
    if len(sizes) < 2:
        raise UserError(
            f"val_share={share:g}: all people are in one {by}, which cannot be split; set"
            " hold_out=photo or give a validation set of its own"
        )
    order = sorted(sizes, key=lambda key: hashlib.sha256(f"{seed} {key}".encode()).digest())
    wanted, taken, chosen = share * len(shown), 0, list[str]()
    for key in order:
        # A group that would go further beyond the share than leaving it out stays behind: one long
        # video must not become the validation set.
        if taken + sizes[key] - wanted <= wanted - taken:
            chosen.append(key)
            taken += sizes[key]
    return set[int]().union(*(groups[key] for key in _some_of(chosen, order, sizes)))


def _some_of(chosen: list[str], order: list[str], sizes: dict[str, int]) -> list[str]:
    """At least one group, the smallest, is held out, and at least one is left to train on."""
    if not chosen:
        return [min(order, key=lambda key: sizes[key])]
    return chosen[:-1] if len(chosen) == len(order) else chosen


def _group(photo: Photo, by: HoldOut) -> str:
    if by == "photo":
        return photo.file_name
    return photo.video or str(PurePosixPath(photo.file_name).parent)


def _document(
    category: Category,
    images: list[dict[str, Any]],
    records: list[dict[str, Any]],
    chosen: set[int],
) -> dict[str, Any]:
    return {
        "images": [image for image in images if image["id"] in chosen],
        "annotations": [record for record in records if record["image_id"] in chosen],
        "categories": [_coco_category(category)],
    }


def _coco_category(category: Category) -> dict[str, Any]:
    """COCO's fields, and two that this project reads: `sigmas` and `flip_pairs` by names."""
    number = {name: 1 + k for k, name in enumerate(category.keypoints)}
    written: dict[str, Any] = {
        "id": CATEGORY_ID,
        "name": category.name,
        "keypoints": list(category.keypoints),
        "skeleton": [[number[a], number[b]] for a, b in category.limbs],
    }
    if category.flip_pairs is not None:
        written["flip_pairs"] = [list(pair) for pair in category.flip_pairs]
    if category.sigmas is not None:
        written["sigmas"] = list(category.sigmas)
    return written
