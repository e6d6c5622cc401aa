"""The person boxes that a COCO JSON gives for photos, and the photos as these boxes mean them."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path, PurePath
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from cpn.coco.annotation_file import (
    ignore_other_categories,
    person_category,
    refuse_unknown_images,
)
from cpn.coco.records import (
    Box,
    CocoBox,
    CocoCategory,
    CocoImage,
    describe_dropped,
    split_usable,
)
from cpn.coco.rules import refuse_repeated
from cpn.coco.strict_json import read_json
from cpn.data.image_files import MAX_MEGAPIXELS, read_image
from cpn.errors import UserError
from cpn.geometry.boxes import xywh_to_xyxy

logger = logging.getLogger(__name__)

PERSON = 1  # COCO's category

Image = npt.NDArray[np.uint8]


class _Photo(CocoImage, frozen=True):
    """A width or height that is unknown is 0 or null."""

    file_name: str
    width: Annotated[int, msgspec.Meta(ge=0, le=2**20)] | None = None
    height: Annotated[int, msgspec.Meta(ge=0, le=2**20)] | None = None


class _BoxFile(msgspec.Struct, frozen=True):
    images: list[_Photo]
    annotations: list[CocoBox]
    categories: list[CocoCategory] = []


class PhotoBoxes(NamedTuple):
    """The people of one photo.

    Attributes:
        boxes_xyxy: (N, 4) edge frame.
        size_hw: (height, width) of the photo that the boxes were drawn on, where the file says it.
        image_id: the photo's in the file; for one that is not in it a number above those.
        category_id: of the people in the file.
    """

    boxes_xyxy: npt.NDArray[np.float64]
    size_hw: tuple[int, int] | None
    image_id: int = 1
    category_id: int = PERSON


def read_photo(
    path: Path, boxes: PhotoBoxes | None, *, max_megapixels: float = MAX_MEGAPIXELS
) -> Image:
    """A photo (H, W, 3) RGB, upright by its EXIF orientation.

    Only where the size that goes with its boxes is that of the stored pixels, the boxes are of
    these, as in COCO's files: the photo is then left as stored, with a warning. So it is where the
    orientation keeps the size, which then cannot tell.

    Raises:
        UserError: as `read_image`, or the boxes are of neither size.
    """
    upright = read_image(path, upright=True, max_megapixels=max_megapixels)
    if boxes is None or not boxes.boxes_xyxy.size:
        return upright
    stored = read_image(path, max_megapixels=max_megapixels)
    if boxes.size_hw not in {None, upright.shape[:2], stored.shape[:2]}:
        raise UserError(
            f"{path}: its boxes are of a photo of {_wxh(boxes.size_hw)} (width x height), it has"
            f" {_wxh(upright.shape)}; give the photo that the boxes were drawn on, or correct"
            " width, height and bbox in the JSON"
        )
    if np.array_equal(stored, upright):
        return upright
    if stored.shape != upright.shape and boxes.size_hw != stored.shape[:2]:
        return upright
    logger.warning(
        "%s: its boxes are for the stored pixels, before the EXIF orientation, so it is not turned "
        "upright; people that lie on their side are found badly",
        path,
    )
    return stored


def _wxh(size_hw: Sequence[int]) -> str:
    return f"{size_hw[1]} x {size_hw[0]}"


def read_boxes(file: Path, source: Path, paths: Sequence[Path]) -> dict[Path, PhotoBoxes]:
    """The person boxes of each photo; a photo without boxes gets none.

    A photo is the JSON's image whose file_name is its path below `source`, else the one with its
    base name. Other categories, crowds and boxes without area are left out and counted; boxes of
    images that are not among the photos do not count.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: not a COCO JSON with one person category, an image id is repeated or unknown,
            none of its images is among the photos, or a photo may be several of its images.
    """
    name = f"boxes={file}"
    content = _read_box_file(file)
    refuse_repeated([image.id for image in content.images], "image id", name)
    image_ids = {image.id for image in content.images}
    refuse_unknown_images(content.annotations, image_ids, name, "its 'images'")
    matched = _match(paths, source, file, content.images)
    if not matched:
        raise UserError(f"{name}: none of its images is among the {len(paths)} given")
    if absent := len(paths) - len(matched):
        logger.warning("%d of %d photos are not in %s: nobody there", absent, len(paths), name)
    wanted = {photo.id for photo in matched.values()}
    person = _person_id(file, content)
    records, dropped = split_usable(
        (record for record in content.annotations if record.image_id in wanted), person
    )
    logger.info("%s: %d person boxes; dropped: %s", file, len(records), describe_dropped(dropped))
    grouped: dict[int, list[Box]] = defaultdict(list)
    for record in records:
        grouped[record.image_id].append(record.bbox)
    category_id = PERSON if person is None else person
    new_ids = count(max(image_ids) + 1)
    return {path: _photo_boxes(matched.get(path), grouped, new_ids, category_id) for path in paths}


def _read_box_file(file: Path) -> _BoxFile:
    def mend(document: object) -> object:
        if isinstance(document, list):
            raise UserError(
                f"boxes={file}: a list, as detections are; needed is a COCO JSON object with"
                " 'images' (id, file_name) and 'annotations' (image_id, category_id, bbox)"
            )
        return ignore_other_categories(
            document, lambda known: person_category(known, "", with_keypoints=False)
        )

    return read_json(file, _BoxFile, mend=mend)


def _person_id(file: Path, content: _BoxFile) -> int | None:
    """The person category; a file without categories has those that its boxes use."""
    used = sorted({record.category_id for record in content.annotations})
    known = content.categories or [CocoCategory(category_id) for category_id in used]
    return person_category(known, f"boxes={file}", with_keypoints=False).id if known else None


def _match(
    paths: Sequence[Path], source: Path, file: Path, images: Sequence[_Photo]
) -> dict[Path, _Photo]:
    """The JSON's image that each photo is; photos that it does not have are left out."""
    by_path: dict[PurePath, list[_Photo]] = defaultdict(list)
    by_name: dict[str, list[_Photo]] = defaultdict(list)
    for image in images:
        file_name = PurePath(image.file_name)
        by_path[file_name].append(image)
        by_name[file_name.name].append(image)
    matched = {}
    for path in paths:
        relative = path.relative_to(source) if path != source else PurePath(path.name)
        found = by_path.get(relative) or by_name.get(path.name, [])
        if len(found) > 1:
            names = [image.file_name for image in found[:5]]
            raise UserError(
                f"boxes={file}: {path} may be any of its {len(found)} images {names}; leave "
                "one of them in the JSON, or rename the photos and their file_name"
            )
        if found:
            matched[path] = found[0]
    return matched


def _photo_boxes(
    photo: _Photo | None, grouped: Mapping[int, list[Box]], new_ids: Iterator[int], category_id: int
) -> PhotoBoxes:
    boxes_xywh = np.array(grouped.get(photo.id, []) if photo else [], dtype=np.float64)
    size_hw = (photo.height, photo.width) if photo and photo.height and photo.width else None
    image_id = photo.id if photo else next(new_ids)
    return PhotoBoxes(xywh_to_xyxy(boxes_xywh.reshape(-1, 4)), size_hw, image_id, category_id)
