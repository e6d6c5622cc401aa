"""YOLO pose: a data.yaml, and a text file per photo with a person per line."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cpn.convert.labels import Category, FloatArray, Labels, Person, Photo, Wishes, finite
from cpn.convert.photos import IMAGE_ENDINGS, upright_photo_size
from cpn.errors import UserError, first_line, one_line
from cpn.skeleton import COCO_17

SUBSETS = ("train", "val", "test")
# In shares of the photo, as YOLO's own reader has it: rounding may lead a little outside.
_LOWEST, _HIGHEST = -0.01, 1.01
_NOT_READ = (".tif", ".tiff", ".heic", ".heif", ".avif", ".gif", ".dng", ".mpo")


def read_yolo_pose(source: Path, wishes: Wishes) -> Labels:
    """The people of one subset that a data.yaml names.

    Photos lie below `…/images/…`, their text files in the same place below `…/labels/…`. A line is
    class, box centre and size, then x, y and, if `kpt_shape` says so, v of each keypoint, all in
    shares of the photo's size.

    Args:
        source: data.yaml.
        wishes: `subset`: train (default), val or test; `keypoints`: names, where data.yaml has no
            `kpt_names`; `images`: the folder that file names are written relative to.

    Raises:
        UserError: a file is missing or broken, or no names are known.
    """
    subset = wishes.subset or "train"
    if subset not in SUBSETS:
        raise UserError(f"subset={subset}: YOLO's data.yaml has the subsets {', '.join(SUBSETS)}")
    settings = _settings(source)
    shape = _shape(source, settings)
    category, notes = _category(source, settings, shape[0], wishes.keypoints)
    labels = Labels(category, notes=notes)
    folder = wishes.images or _root(source, settings)
    for photo in _photos(source, settings, subset):
        if photo.suffix.lower() in _NOT_READ:
            labels.dropped["photo that is no JPEG, PNG, WebP or BMP"] += 1
            continue
        size = upright_photo_size(photo)
        labels.photos.append(Photo(_relative(photo, folder), size))
        _read_people(labels, _label_file(photo), shape, size)
    return labels


def _settings(source: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(source.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{source}: no YAML: {first_line(error)}") from error
    if not isinstance(settings, dict):
        raise UserError(f"{source}: no data.yaml of YOLO: it holds no keys")
    return settings


def _shape(source: Path, settings: dict[str, Any]) -> tuple[int, int]:
    shape = settings.get("kpt_shape")
    match shape:
        case [int(count), 2 | 3 as numbers] if count > 0:
            return count, numbers
    raise UserError(f"{source}: kpt_shape is {shape!r}, it must be [number of keypoints, 2 or 3]")


def _category(
    source: Path, settings: dict[str, Any], count: int, given: tuple[str, ...] | None
) -> tuple[Category, list[str]]:
    names = given or _written_names(settings)
    if not names:
        hint = " (keypoints=coco if they are COCO's 17)" if count == COCO_17.num_keypoints else ""
        raise UserError(
            f"{source}: its {count} keypoints have no names; give them: 'keypoints=[nose,…]'{hint}"
        )
    if len(names) != count:
        raise UserError(f"{source}: kpt_shape says {count} keypoints, there are {len(names)} names")
    pairs = _flip_pairs(source, settings.get("flip_idx"), names)
    notes = [] if pairs is None else ["flip pairs are those of flip_idx"]
    classes = _classes(settings.get("names"))
    if len(classes) > 1:
        raise UserError(
            f"{source}: it has the classes {', '.join(map(str, classes))}; one is converted at a"
            " time: keep the lines of one class"
        )
    return Category(names, flip_pairs=pairs, name=str(classes[0])), notes


def _classes(names: object) -> list[object]:
    """The names of the classes: a mapping by number, a list, or one name alone."""
    if isinstance(names, dict):
        names = list(names.values())
    return (names if isinstance(names, list) else [names]) if names else ["person"]


def _written_names(settings: dict[str, Any]) -> tuple[str, ...]:
    """`kpt_names`, a list or a list per class."""
    names = settings.get("kpt_names") or ()
    if isinstance(names, dict):
        names = next(iter(names.values()), ())
    return tuple(str(name) for name in ([names] if isinstance(names, str) else names))


def _flip_pairs(
    source: Path,
    permutation: object,
    names: tuple[str, ...],
) -> tuple[tuple[str, str], ...] | None:
    if permutation is None or permutation == []:
        return None
    indices = range(len(names))
    if (
        not isinstance(permutation, list)
        or sorted(permutation, key=str) != sorted(indices, key=str)
        or any(permutation[permutation[k]] != k for k in indices)
    ):
        raise UserError(f"{source}: flip_idx={permutation} does not pair {len(names)} keypoints")
    pairs = ((k, permutation[k]) for k in indices if k < permutation[k])
    return tuple(
        (names[b], names[a]) if "right" in names[a].lower() else (names[a], names[b])
        for a, b in pairs
    )


def _root(source: Path, settings: dict[str, Any]) -> Path:
    """The folder called `path`, beside data.yaml or above it, where YOLO keeps its data sets."""
    name = str(settings.get("path") or ".")
    places = [_absolute(folder / name) for folder in (source.parent, *_absolute(source).parents)]
    return next((place for place in places if place.is_dir()), places[0])


def _absolute(path: Path) -> Path:
    """Without `..`, and without following links, which may lead out of the data set."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() follows links


def _photos(source: Path, settings: dict[str, Any], subset: str) -> list[Path]:
    """Of a folder or a list of photos (.txt), or of several of them."""
    entry = settings.get(subset) or (settings.get("validation") if subset == "val" else None)
    entries: list[Any] = entry if isinstance(entry, list) else [entry]
    if not entries or not all(isinstance(one, str) for one in entries):
        raise UserError(f"{source}: '{subset}' is {entry!r}, it must name folders of photos")
    found: list[Path] = []
    root = _root(source, settings)
    for one in entries:
        place = _place(root, one)
        if place is None:
            raise UserError(f"{source}: {subset}: no such folder: {_absolute(root / one)}")
        if place.is_file():
            found += _listed(place)
        else:
            endings = (*IMAGE_ENDINGS, *_NOT_READ)
            found += sorted(p for p in place.rglob("*") if p.suffix.lower() in endings)
    if not found:
        raise UserError(f"{source}: {subset}: no photos in {', '.join(entries)}")
    return list(dict.fromkeys(found))


def _place(root: Path, entry: str) -> Path | None:
    """A folder, or a list of photos; in exports ../ may stand for data.yaml's own folder."""
    for path in dict.fromkeys((entry, entry.removeprefix("../"))):
        place = _absolute(root / path)
        if place.is_dir() or (place.is_file() and place.suffix == ".txt"):
            return place
    return None


def _listed(file: Path) -> list[Path]:
    """The photos that a text file names, a line each, from its own folder on."""
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    return [_absolute(file.parent / line.strip()) for line in lines if line.strip()]


def _relative(photo: Path, folder: Path) -> str:
    try:
        return _absolute(photo).relative_to(_absolute(folder)).as_posix()
    except ValueError as error:
        raise UserError(f"{photo}: not below {folder}; set images to a folder above it") from error


def _label_file(photo: Path) -> Path:
    """The last folder called images becomes labels, as YOLO does."""
    parts = list(photo.parent.parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts, f"{photo.stem}.txt")


def _read_people(
    labels: Labels, file: Path, shape: tuple[int, int], size_hw: tuple[int, int]
) -> None:
    """Adds the people of a photo; a photo without a text file shows nobody."""
    if not file.is_file():
        labels.dropped["photo without a text file: nobody in it"] += 1
        return
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    seen = set[str]()
    for number, line in enumerate(lines, 1):
        person = " ".join(line.split())
        if person in seen:
            labels.dropped["line that stands there twice"] += 1
        elif person:
            where = f"{one_line(file)}, line {number}"
            labels.people.append(_person(where, person, len(labels.photos) - 1, shape, size_hw))
        seen.add(person)


def _person(
    where: str, line: str, photo: int, shape: tuple[int, int], size_hw: tuple[int, int]
) -> Person:
    count, numbers = shape
    words = line.split()
    known = [value for value in map(finite, words) if value is not None]
    expected = 5 + count * numbers
    if len(known) != len(words):
        word = next(word for word in words if finite(word) is None)
        raise UserError(f"{where}: '{one_line(word)}' is no number")
    if len(known) != expected:
        raise UserError(
            f"{where}: {len(known)} numbers, {count} keypoints of {numbers} need {expected}"
            " (class, x, y, width, height, keypoints)"
        )
    if known[0] != 0:
        raise UserError(f"{where}: class {known[0]:g}; data.yaml has one class, number 0")
    _require_shares(where, "the box", known[1:5])
    height, width = size_hw
    x, y, w, h = (value * side for value, side in zip(known[1:5], (width, height) * 2, strict=True))
    return Person(
        photo=photo,
        keypoints=_keypoints(where, np.array(known[5:]).reshape(count, numbers), size_hw),
        box_xywh=(x - w / 2, y - h / 2, w, h),
    )


def _keypoints(where: str, rows: FloatArray, size_hw: tuple[int, int]) -> FloatArray:
    points = np.zeros((len(rows), 3))
    points[:, :2] = rows[:, :2] * size_hw[::-1]
    if rows.shape[1] == 3:
        if not np.isin(rows[:, 2], (0, 1, 2)).all():
            raise UserError(f"{where}: v must be 0, 1 or 2")
        points[:, 2] = rows[:, 2]
    else:  # without v, (0, 0) says that a keypoint is not labelled
        points[:, 2] = np.where(rows.any(axis=1), 2, 0)
    labelled = points[:, 2] > 0
    _require_shares(where, "a labelled keypoint", rows[labelled, :2].reshape(-1).tolist())
    points[~labelled] = 0
    return points


def _require_shares(where: str, what: str, values: list[float]) -> None:
    if wrong := [value for value in values if not _LOWEST <= value <= _HIGHEST]:
        raise UserError(
            f"{where}: {what} has {wrong[0]:g}; numbers are shares of the photo's width and height,"
            " from 0 to 1"
        )
