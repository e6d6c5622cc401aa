"""COCO annotation files -> photos with everybody in them, for training and running detectors.

As `cpn.data.annotations`, but photo by photo. Crowds and boxes without area are left out: a
detector is neither asked to find them nor told that nobody is there by a box of their own.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, NamedTuple, overload

import msgspec
import numpy as np
import numpy.typing as npt

from cpn.coco.annotation_file import (
    AnnotationFile,
    CocoFile,
    own_constants,
    read_annotation_file,
)
from cpn.coco.broken import BrokenRecords
from cpn.coco.records import CocoAnnotation, CocoPhoto, Coordinate, describe_dropped, split_usable
from cpn.coco.strict_json import read_json
from cpn.data.annotations import build_instances, keypoint_array
from cpn.data.image_files import MAX_MEGAPIXELS
from cpn.data.standards import Standards, with_usable_photos
from cpn.errors import UserError
from cpn.geometry.boxes import xywh_to_xyxy

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]
Ring = Annotated[list[Coordinate], msgspec.Meta(min_length=6)]
# Polygons, or run-lengths in a mapping.
Mask = list[Ring] | dict[str, object] | None


class _Outline(msgspec.Struct, frozen=True):
    """One entry of `annotations`, whose mask is looked at only if it is wanted."""

    id: int
    segmentation: Any = None


class _OutlineFile(msgspec.Struct, frozen=True):
    annotations: list[_Outline]


class AnnotatedPhoto(NamedTuple):
    """One photo with its P people.

    Attributes:
        image_id: of the COCO file.
        image_path: the file.
        image_size_hw: (height, width) that the annotation file states.
        boxes_xyxy: (P, 4) edge frame, inside the photo.
        keypoints: (P, K, 3) x, y in the image frame and v; K is 0 where none are wanted.
        outlines: per person the polygons (V, 2) of its mask, edge frame; empty if not wanted.
    """

    image_id: int
    image_path: Path
    image_size_hw: tuple[int, int]
    boxes_xyxy: FloatArray
    keypoints: FloatArray
    outlines: list[list[npt.NDArray[np.float32]]]


@dataclass(frozen=True)
class AnnotatedPhotos(Sequence[AnnotatedPhoto]):
    """N photos with P people in all and R polygons of V points, held in arrays.

    (A list of objects would be copied page by page into every loader worker.)

    Attributes:
        folder: what `file_names` are relative to.
        file_names: (N,) UTF-8 bytes.
        image_ids: (N,) int64.
        sizes_hw: (N, 2) int64.
        people: (N + 1,) where each photo's people begin.
        boxes_xyxy: (P, 4).
        keypoints: (P, K, 3).
        rings: (P + 1,) where each person's polygons begin.
        corners: (R + 1,) where each polygon's points begin.
        points: (V, 2) float32.
        category_id: of the person category.
        keypoint_names: of the person category, whether they are wanted or not.
        flip_pairs: that it names; None: none.
        source: the annotation file.
    """

    folder: Path
    file_names: npt.NDArray[np.bytes_]
    image_ids: npt.NDArray[np.int64]
    sizes_hw: npt.NDArray[np.int64]
    people: npt.NDArray[np.int64]
    boxes_xyxy: FloatArray
    keypoints: FloatArray
    rings: npt.NDArray[np.int64]
    corners: npt.NDArray[np.int64]
    points: npt.NDArray[np.float32]
    category_id: int
    keypoint_names: tuple[str, ...]
    flip_pairs: tuple[tuple[str, str], ...] | None
    source: Path

    def __len__(self) -> int:
        return len(self.image_ids)

    @overload
    def __getitem__(self, index: int) -> AnnotatedPhoto: ...
    @overload
    def __getitem__(self, index: slice) -> list[AnnotatedPhoto]: ...
    def __getitem__(self, index: int | slice) -> AnnotatedPhoto | list[AnnotatedPhoto]:
        if isinstance(index, slice):
            return [self[position] for position in range(len(self))[index]]
        height, width = self.sizes_hw[index].tolist()
        first, end = self.people[index : index + 2].tolist()
        return AnnotatedPhoto(
            image_id=int(self.image_ids[index]),
            image_path=self.folder / self.file_names[index].decode(),
            image_size_hw=(height, width),
            boxes_xyxy=self.boxes_xyxy[first:end],
            keypoints=self.keypoints[first:end],
            outlines=[self._outline(person) for person in range(first, end)],
        )

    def _outline(self, person: int) -> list[npt.NDArray[np.float32]]:
        first, end = self.rings[person : person + 2].tolist()
        cuts = self.corners[first : end + 1].tolist()
        return [self.points[a:b] for a, b in pairwise(cuts)]


class Wanted(NamedTuple):
    """What of an annotation file a detector needs.

    Attributes:
        masks: everybody's outline.
        num_keypoints: K, 0 for none.
        min_keypoints: the keypoints of people with fewer labelled ones count as not labelled.
        empty_photos: photos in which nobody is annotated, too.
        crowd_photos: and those in which only crowds are, or boxes without area: people are there,
            but no box says where.
    """

    masks: bool = False
    num_keypoints: int = 0
    min_keypoints: int = 1
    empty_photos: bool = False
    crowd_photos: bool = False


# What is found in a photo without people is wrong; what is found in a crowd does not count.
EVERY_PHOTO = Wanted(empty_photos=True, crowd_photos=True)


def read_annotated_photos(
    annotations: Path,
    images: Path,
    *,
    wanted: Wanted = Wanted(),  # noqa: B008 - immutable
    limit: int | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> AnnotatedPhotos:
    """Reads a COCO file of photos with people.

    Args:
        annotations: the JSON file.
        images: the folder that its `file_name`s are relative to.
        wanted: what is needed of a person.
        limit: keep only the first so many photos.
        max_megapixels: most millions of pixels of a photo.

    Raises:
        FileNotFoundError: the file or the image folder does not exist.
        UserError: a record is broken, lacks what is wanted, a photo is missing or too large, or no
            photo is left.
    """
    broken = BrokenRecords()
    file = read_annotation_file(annotations, CocoFile[CocoPhoto], broken=broken)
    _check_keypoints(file, wanted.num_keypoints)
    own = own_constants(file.person, file.source)
    records, dropped = split_usable(file.annotations, file.person.id)
    grouped: dict[int, list[CocoAnnotation]] = defaultdict(list)
    for record in records:
        grouped[record.image_id].append(record)
    peopled = {each.image_id for each in file.annotations if each.category_id == file.person.id}

    def is_wanted(photo_id: int) -> bool:
        if photo_id in grouped:
            return True
        return wanted.crowd_photos if photo_id in peopled else wanted.empty_photos

    photos = [photo for photo in file.images.values() if is_wanted(photo.id)][:limit]
    if not photos:
        raise UserError(
            f"{annotations}: no photo with a person; left out: {describe_dropped(dropped)}"
        )
    _check_photos(photos, images, annotations, max_megapixels)
    people = [record for photo in photos for record in grouped[photo.id]]
    outlines = _outlines(annotations, people) if wanted.masks else [[] for _ in people]
    logger.info(
        "%s: %d photos with %d persons; dropped: %s",
        *(annotations, len(photos), len(people), describe_dropped(dropped)),
    )
    return AnnotatedPhotos(
        folder=images,
        file_names=np.array([photo.file_name.encode() for photo in photos], dtype=np.bytes_),
        image_ids=np.array([photo.id for photo in photos], dtype=np.int64),
        sizes_hw=np.array([(photo.height, photo.width) for photo in photos], dtype=np.int64),
        people=_starts([len(grouped[photo.id]) for photo in photos]),
        boxes_xyxy=_boxes(people, file),
        keypoints=_keypoints(people, wanted),
        rings=_starts([len(outline) for outline in outlines]),
        corners=_starts([len(ring) for outline in outlines for ring in outline]),
        points=np.concatenate(
            [np.zeros((0, 2), np.float32), *(ring for outline in outlines for ring in outline)]
        ),
        category_id=file.person.id,
        keypoint_names=tuple(file.person.keypoints or ()),
        flip_pairs=None if own.flip_pairs is None else tuple(own.flip_pairs),
        source=annotations,
    )


def _starts(counts: Sequence[int]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)


def _check_keypoints(file: AnnotationFile[CocoPhoto], wanted: int) -> None:
    known = len(file.person.keypoints or ())
    if wanted not in (0, known):
        raise UserError(
            f"{file.source}: its person category has {known} keypoints, "
            f"detector.num_keypoints={wanted}; set that to {known or 'null'}"
        )


def _check_photos(
    photos: Sequence[CocoPhoto], images: Path, source: Path, max_megapixels: float
) -> None:
    """Every photo is there and not too large; each is looked at as if one person were in it."""
    instances = build_instances(
        images,
        photos,
        boxes_xywh=[(0.0, 0.0, 1.0, 1.0)] * len(photos),
        annotation_ids=[photo.id for photo in photos],
        keypoints=np.zeros((len(photos), 0, 3)),
    )
    with_usable_photos(instances, source, Standards(max_megapixels=max_megapixels), BrokenRecords())


def _boxes(people: Sequence[CocoAnnotation], file: AnnotationFile[CocoPhoto]) -> FloatArray:
    """(P, 4), cut at the photo's edges.

    Raises:
        UserError: a box is outside its photo.
    """
    boxes = xywh_to_xyxy(np.array([person.bbox for person in people]).reshape(-1, 4))
    images = [file.images[person.image_id] for person in people]
    limits = np.array([(image.width, image.height) * 2 for image in images]).reshape(-1, 4)
    inside = np.clip(boxes, 0, limits)
    outside = np.flatnonzero((inside[:, 2:] <= inside[:, :2]).any(axis=1))
    if outside.size:
        person = people[int(outside[0])]
        raise UserError(
            f"{file.source}: annotation {person.id} (image {person.image_id}): bbox "
            f"{list(person.bbox)} is outside its photo, one of {outside.size}; correct or remove it"
        )
    return inside


def _keypoints(people: Sequence[CocoAnnotation], wanted: Wanted) -> FloatArray:
    if not wanted.num_keypoints:
        return np.zeros((len(people), 0, 3))
    keypoints = keypoint_array(people, wanted.num_keypoints)
    keypoints[(keypoints[..., 2] > 0).sum(axis=1) < wanted.min_keypoints] = 0
    return keypoints


def _outlines(
    annotations: Path, people: Sequence[CocoAnnotation]
) -> list[list[npt.NDArray[np.float32]]]:
    """Per person its polygons (V, 2).

    Raises:
        UserError: a person has none, one that is broken, or run-lengths in their place.
    """
    file = read_json(annotations, _OutlineFile)
    known = {each.id: each.segmentation for each in file.annotations}
    outlines = []
    for person in people:
        rings = _checked_mask(known[person.id], person.id, annotations)
        if not rings or isinstance(rings, dict):
            found = "is run-length encoded" if rings else "is missing"
            raise UserError(
                f"{annotations}: 'segmentation' of annotation {person.id} {found}; masks are "
                "learned from polygons [[x, y, x, y, ...], ...]: give them, or set "
                "detector.mask_rcnn.mask=null"
            )
        if any(len(ring) % 2 for ring in rings):
            raise UserError(
                f"{annotations}: 'segmentation' of annotation {person.id} has a polygon with an "
                "odd number of coordinates; give x, y of each corner"
            )
        outlines.append([np.array(ring, np.float32).reshape(-1, 2) for ring in rings])
    return outlines


def _checked_mask(mask: object, person_id: int, source: Path) -> Mask:
    try:
        checked: Mask = msgspec.convert(mask, Mask)
    except msgspec.ValidationError as error:
        raise UserError(
            f"{source}: 'segmentation' of annotation {person_id}: {error}; give polygons "
            "[[x, y, x, y, ...], ...] of three corners or more, or set "
            "detector.mask_rcnn.mask=null"
        ) from error
    return checked
