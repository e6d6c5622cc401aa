"""Persons to crop, held in a few arrays.

A list of objects would be copied page by page into every loader worker, as reading an object
writes its reference count; arrays stay shared.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Self, overload

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PersonInstance:
    """One person in one image.

    Attributes:
        image_id: of the COCO file.
        annotation_id: of the COCO file; for detections, the position in their file.
        image_path: the photo.
        image_size_hw: (height, width) the annotation file states.
        box_xywh: (4,) edge frame.
        keypoints: (K, 3) x, y in the image frame and v (0 unlabelled, 1 hidden, 2 visible).
        area: COCO's segment area in pixels, or the box's where only that is known.
        box_score: 1.0 for ground truth, the detector's score otherwise.
        index: position among the `PersonInstances` that it comes from.
    """

    image_id: int
    annotation_id: int
    image_path: Path
    image_size_hw: tuple[int, int]
    box_xywh: FloatArray
    keypoints: FloatArray
    area: float
    box_score: float = 1.0
    index: int = 0


@dataclass(frozen=True)
class PersonInstances(Sequence[PersonInstance]):
    """N persons: `persons[i]` is a `PersonInstance`, `persons[a:b]` is `PersonInstances`.

    Attributes:
        image_folder: what `file_names` are relative to.
        file_names: (N,) UTF-8 bytes.
        image_ids: (N,) int64.
        annotation_ids: (N,) int64.
        image_sizes_hw: (N, 2) int64.
        boxes_xywh: (N, 4) float64, edge frame.
        keypoints: (N, K, 3) float64, image frame.
        areas: (N,) float64.
        box_scores: (N,) float64.
    """

    image_folder: Path
    file_names: npt.NDArray[np.bytes_]
    image_ids: npt.NDArray[np.int64]
    annotation_ids: npt.NDArray[np.int64]
    image_sizes_hw: npt.NDArray[np.int64]
    boxes_xywh: FloatArray
    keypoints: FloatArray
    areas: FloatArray
    box_scores: FloatArray

    def __len__(self) -> int:
        return len(self.image_ids)

    @overload
    def __getitem__(self, index: int) -> PersonInstance: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> PersonInstance | Self:
        if isinstance(index, slice):
            return self.take(range(len(self))[index])
        height, width = self.image_sizes_hw[index].tolist()
        return PersonInstance(
            image_id=int(self.image_ids[index]),
            annotation_id=int(self.annotation_ids[index]),
            image_path=self.image_folder / self.file_names[index].decode(),
            image_size_hw=(height, width),
            box_xywh=self.boxes_xywh[index],
            keypoints=self.keypoints[index],
            area=float(self.areas[index]),
            box_score=float(self.box_scores[index]),
            index=index,
        )

    @classmethod
    def joined(cls, sets: Sequence[Self]) -> Self:
        """The persons of several sets with the same keypoints, one set after the other."""
        arrays = {
            field.name: np.concatenate([getattr(each, field.name) for each in sets])
            for field in fields(cls)
            if field.name not in {"image_folder", "file_names"}
        }
        paths = [
            str(each.image_folder / name.decode()).encode()
            for each in sets
            for name in each.file_names
        ]
        return cls(image_folder=Path(), file_names=np.array(paths, dtype=np.bytes_), **arrays)

    def with_keypoints(self, keypoints: FloatArray) -> Self:
        """The same persons with other (N, K, 3) keypoints."""
        return replace(self, keypoints=keypoints)

    def keep(self, wanted: npt.NDArray[np.bool_]) -> Self:
        """The persons for which (N,) `wanted` is true; this very object where all are."""
        return self if wanted.all() else self.take(np.flatnonzero(wanted).tolist())

    def take(self, indices: Iterable[int]) -> Self:
        """The persons at the given positions, in that order."""
        rows = np.fromiter(indices, dtype=np.int64)
        arrays = {
            field.name: getattr(self, field.name)[rows]
            for field in fields(self)
            if field.name != "image_folder"
        }
        return type(self)(image_folder=self.image_folder, **arrays)
