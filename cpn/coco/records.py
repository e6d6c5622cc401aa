"""What is read of COCO files, typed and strict. Fields that are not named here are skipped.

Masks (`segmentation`) are deliberately among the skipped: nothing here needs them, and decoding
run-lengths of unknown origin is a risk.
"""

import sys
from typing import Annotated, Literal

import msgspec

# numpy int64 and pycocotools hold these ids exactly, also where they pass through a double.
Id = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
PixelCount = Annotated[int, msgspec.Meta(ge=1, le=2**20)]
# Far beyond any photo, and sums and products of such numbers stay finite.
Coordinate = Annotated[float, msgspec.Meta(ge=-1e7, le=1e7)]
Area = Annotated[float, msgspec.Meta(ge=0, le=1e14)]
# A range without NaN and infinity.
Finite = Annotated[float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
Box = tuple[Coordinate, Coordinate, Coordinate, Coordinate]


class CocoImage(msgspec.Struct, frozen=True):
    """One entry of `images`, where no picture is needed."""

    id: Id


class CocoPhoto(CocoImage, frozen=True):
    """One entry of `images`; sizes in pixels as stored."""

    file_name: Annotated[str, msgspec.Meta(min_length=1)]
    width: PixelCount
    height: PixelCount


class CocoCategory(msgspec.Struct, frozen=True):
    """One entry of `categories`; `skeleton` holds 1-based pairs of `keypoints`."""

    id: Id
    name: str = ""
    keypoints: list[str] | None = None
    skeleton: list[tuple[int, int]] | None = None


class CocoBox(msgspec.Struct, frozen=True, kw_only=True):
    """What an entry of `annotations` needs for a crop."""

    image_id: Id
    category_id: Id
    bbox: Box
    iscrowd: Literal[0, 1] | bool = 0


class CocoAnnotation(CocoBox, frozen=True, kw_only=True):
    """One entry of `annotations`; `keypoints` is K times x, y, v, `area` is in square pixels."""

    id: Id
    keypoints: list[Coordinate] | None = None
    num_keypoints: int | None = None
    area: Area | None = None


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
    return "box without area" if min(record.bbox[2:]) <= 0 else ""
