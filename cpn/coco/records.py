"""What is read of COCO files, typed and strict. Fields that are not named here are skipped.

Masks (`segmentation`) are deliberately among the skipped: nothing here needs them, and decoding
run-lengths of unknown origin is a risk.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

import msgspec

# What numpy's int64 holds.
Id = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
PixelCount = Annotated[int, msgspec.Meta(ge=1, le=2**20)]
# No bytes 0 and no halves of characters, which are in no file's name.
FileName = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=1024, pattern=r"^[^\x00\ud800-\udfff]+\Z"),
]
# Far beyond any photo, and sums and products of such numbers stay finite.
Coordinate = Annotated[float, msgspec.Meta(ge=-1e7, le=1e7)]
Area = Annotated[float, msgspec.Meta(ge=0, le=1e14)]
# A range without NaN and infinity.
Finite = Annotated[float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
Box = tuple[Coordinate, Coordinate, Coordinate, Coordinate]
# In pixels. What is smaller is no person, and its crop would be beyond what numbers can hold.
MIN_BOX_SIDE = 1e-3
Truth = Annotated[int, msgspec.Meta(ge=0, le=1)] | bool


class CocoImage(msgspec.Struct, frozen=True):
    """One entry of `images`, where no picture is needed."""

    id: Id


class CocoPhoto(CocoImage, frozen=True):
    """One entry of `images`; sizes in pixels as stored."""

    file_name: FileName
    width: PixelCount
    height: PixelCount


class CocoCategory(msgspec.Struct, frozen=True):
    """One entry of `categories`; the last three are checked by who needs them.

    `sigmas` and `flip_pairs` are no fields of COCO's, `scripts/convert_data.py` writes them.
    """

    id: Id
    name: str = ""
    keypoints: list[str] | None = None
    skeleton: Any = None
    sigmas: Any = None
    flip_pairs: Any = None


class CocoBox(msgspec.Struct, frozen=True, kw_only=True):
    """What an entry of `annotations` needs for a crop."""

    image_id: Id
    category_id: Id
    bbox: Box
    iscrowd: Truth | None = 0


BoxT = TypeVar("BoxT", bound=CocoBox)


class CocoAnnotation(CocoBox, frozen=True, kw_only=True):
    """One entry of `annotations`; `keypoints` is K times x, y, v, `area` is in square pixels.

    `head_box` is no field of COCO's: MPII's, as `scripts/convert_data.py` writes it.
    """

    id: Id
    keypoints: list[Coordinate] | None = None
    num_keypoints: float | None = None
    area: Area | None = None
    head_box: Box | None = None


class CocoDetection(msgspec.Struct, frozen=True):
    """One entry of a COCO detection results file."""

    image_id: Id
    category_id: Id
    bbox: Box
    score: Finite


def unusable_reason(record: CocoBox, category_id: int | None) -> str:
    """Why an annotation gives no person to crop; empty for one that does."""
    if record.category_id != category_id:
        return "other category"
    if record.iscrowd:
        return "crowd"
    return box_problem(record.bbox)


def box_problem(box_xywh: Box) -> str:
    """Why a box cannot be cropped; empty for one that can."""
    return "box without area" if min(box_xywh[2:]) < MIN_BOX_SIDE else ""


def split_usable(
    records: Iterable[BoxT], category_id: int | None
) -> tuple[list[BoxT], Counter[str]]:
    """The persons with a box, and how many others there are by reason."""
    usable = []
    dropped: Counter[str] = Counter()
    for record in records:
        if reason := unusable_reason(record, category_id):
            dropped[reason] += 1
        else:
            usable.append(record)
    return usable, dropped


def describe_dropped(dropped: Mapping[str, int]) -> str:
    """'2 x box without area, 1 x crowd', or 'nothing'."""
    counts = [f"{count} x {reason}" for reason, count in sorted(dropped.items()) if count]
    return ", ".join(counts) or "nothing"
