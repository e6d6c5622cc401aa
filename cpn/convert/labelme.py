"""Labelme: a JSON file per photo with points, and rectangles around people."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import msgspec

from cpn.coco.records import Coordinate, FileName, PixelCount
from cpn.coco.strict_json import read_json
from cpn.convert.labels import XYWH, Category, Labels, Person, Photo, Wishes, unlabelled
from cpn.convert.photos import upright_photo_size
from cpn.errors import UserError, one_line


class _Shape(msgspec.Struct, frozen=True):
    label: str
    points: list[tuple[Coordinate, Coordinate]]
    shape_type: str = "polygon"
    group_id: int | None = None
    flags: dict[str, Any] | None = None


class _File(msgspec.Struct, frozen=True, rename="camel"):
    shapes: list[_Shape]
    image_path: FileName
    image_height: PixelCount | None = None
    image_width: PixelCount | None = None


class _Place(NamedTuple):
    """Where in a file: for messages."""

    file: Path
    group: int | None

    def __str__(self) -> str:
        who = "" if self.group is None else f", group_id {self.group}"
        return f"{one_line(self.file)}{who}"


def read_labelme(source: Path, wishes: Wishes) -> Labels:
    """A folder of Labelme's files, and those below it: each point is a keypoint.

    Shapes of one `group_id` are one person; a photo of a single person needs none. A rectangle is
    the person's box. A point with the flag `occluded` or `hidden` set has v = 1.

    Args:
        source: the folder.
        wishes: `keypoints`: the names and their order; None: as they first appear, file by file;
            `images`: the folder that file names are written relative to.

    Raises:
        UserError: a file is broken, a keypoint stands twice in a person, or is not in `keypoints`.
    """
    paths = sorted(source.rglob("*.json")) if source.is_dir() else []
    if not paths:
        raise UserError(f"{source}: no folder with Labelme's *.json files")
    files = [(path, read_json(path, _File)) for path in paths]
    names = wishes.keypoints or _names(file for _, file in files)
    if not names:
        raise UserError(f"{source}: no points in any of {len(paths)} files, only other shapes")
    labels = Labels(Category(names))
    if wishes.keypoints is None:
        labels.notes.append("keypoints in the order in which they first appear; see keypoints=[…]")
    for path, file in files:
        name = _photo_name(path, file.image_path, wishes.images, source)
        height, width = file.image_height, file.image_width
        size = None if height is None or width is None else (height, width)
        labels.photos.append(Photo(name, size))
        _require_upright(name, wishes.images)
        _add_people(labels, path, file)
    return labels


def _require_upright(name: str, images: Path | None) -> None:
    """Points are drawn on the photo as it is shown; where it is at hand, it is looked at."""
    if images is not None and (images / name).is_file():
        upright_photo_size(images / name)


def _photo_name(path: Path, written: str, images: Path | None, source: Path) -> str:
    """Where the photo is below `images`, or below `source` where it is not known to be anywhere.

    The path in the file is from its own folder, on the machine that drew it.
    """
    place = PurePosixPath(written.replace("\\", "/"))
    if images is None:
        strange = ".." in place.parts or place.is_absolute()
        here = PurePosixPath(path.parent.relative_to(source).as_posix())
        return (here / (place.name if strange else place)).as_posix()
    photo = (path.parent / place).resolve()
    folder = images.resolve()
    return photo.relative_to(folder).as_posix() if photo.is_relative_to(folder) else place.name


def _names(files: Iterable[_File]) -> tuple[str, ...]:
    points = (s.label for file in files for s in file.shapes if s.shape_type == "point")
    return tuple(dict.fromkeys(points))


def _add_people(labels: Labels, path: Path, file: _File) -> None:
    groups: dict[int | None, list[_Shape]] = defaultdict(list)
    for shape in file.shapes:
        if shape.shape_type in {"point", "rectangle"}:
            groups[shape.group_id].append(shape)
        else:
            labels.dropped[f"{shape.shape_type}: neither point nor rectangle"] += 1
    if None in groups and len(groups) > 1:
        labels.dropped["shape without group_id beside grouped ones"] += len(groups.pop(None))
    for group, shapes in groups.items():
        points = [shape for shape in shapes if shape.shape_type == "point"]
        if not points:
            labels.dropped["rectangle without points"] += 1
            continue
        labels.people.append(_person(labels, _Place(path, group), points, shapes))


def _person(labels: Labels, place: _Place, points: list[_Shape], shapes: list[_Shape]) -> Person:
    names = labels.category.keypoints
    keypoints = unlabelled(len(names))
    for shape in points:
        if shape.label not in names:
            raise UserError(
                f"{place}: point '{one_line(shape.label)}' is not among the keypoints"
                f" {list(names)}; mend the label, or keypoints=[…]"
            )
        row = keypoints[names.index(shape.label)]
        if row[2]:
            raise UserError(
                f"{place}: '{one_line(shape.label)}' stands there twice; give the points of each"
                " person a group_id of their own"
            )
        hidden = any((shape.flags or {}).get(flag) is True for flag in ("occluded", "hidden"))
        row[:] = (*_only(place, shape, 1)[0], 1 if hidden else 2)
    boxes = [shape for shape in shapes if shape.shape_type == "rectangle"]
    if len(boxes) > 1:
        raise UserError(f"{place}: {len(boxes)} rectangles around one person; keep one")
    box = _box(_only(place, boxes[0], 2)) if boxes else None
    return Person(len(labels.photos) - 1, keypoints, box)


def _only(place: _Place, shape: _Shape, count: int) -> list[tuple[float, float]]:
    if len(shape.points) != count:
        raise UserError(
            f"{place}: {shape.shape_type} '{one_line(shape.label)}' has {len(shape.points)} points,"
            f" it must have {count}"
        )
    return shape.points


def _box(corners: list[tuple[float, float]]) -> XYWH:
    (x0, x1), (y0, y1) = (sorted(values) for values in zip(*corners, strict=True))
    return x0, y0, x1 - x0, y1 - y0
