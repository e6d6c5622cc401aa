"""DeepLabCut: CollectedData_….csv, of one or several animals."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cpn.convert.labels import Category, Labels, Person, Photo, Wishes, finite, unlabelled
from cpn.errors import UserError

_HEADS = ("scorer", "individuals", "bodyparts", "coords")
_AXES = {"x": 0, "y": 1}  # a third coordinate of predictions, likelihood, is none of ours


class _Column(NamedTuple):
    """What a column holds."""

    individual: str
    keypoint: str
    coordinate: str


def read_deeplabcut(source: Path, wishes: Wishes) -> Labels:
    """People or animals of a CSV file; an empty cell is a keypoint that is not labelled.

    DeepLabCut's "unique bodyparts", which belong to no animal, are left out, with a note.

    Args:
        source: CollectedData_….csv.
        wishes: `keypoints`: some of the names, or their order; None: as the file has them.

    Raises:
        UserError: the file is another, or a name is not in it.
    """
    try:
        with source.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{source}: no CSV file: {error}") from error
    first, columns = _columns(source, rows)
    heads = sum(row[0] in _HEADS for row in rows[: len(_HEADS)])
    shared = {column.keypoint for column in columns if column.individual == "single"}
    individuals = list(dict.fromkeys(column.individual for column in columns))
    if shared and len(individuals) > 1:
        individuals.remove("single")
    else:
        shared = set()
    names = tuple(dict.fromkeys(c.keypoint for c in columns if c.keypoint not in shared))
    if wishes.keypoints and (unknown := set(wishes.keypoints) - set(names)):
        raise UserError(f"{source}: no body parts {sorted(unknown)}; it has {list(names)}")
    labels = Labels(Category(wishes.keypoints or names, name=_category_name(individuals)))
    if shared:
        labels.notes.append(f"left out, as they belong to no individual: {', '.join(shared)}")
    for line, row in enumerate(rows[heads:], heads + 1):
        if len(row) != first + len(columns):
            raise UserError(f"{source}, line {line}: {len(row)} cells, not {first + len(columns)}")
        labels.photos.append(Photo(_file_name(row[:first])))
        labels.people.extend(_people(labels, individuals, columns, row[first:]))
    return labels


def _columns(source: Path, rows: list[list[str]]) -> tuple[int, list[_Column]]:
    """How many cells of a row name its photo, and what the others hold."""
    heads = {row[0]: row for row in rows[: len(_HEADS)] if row[0] in _HEADS}
    if not {"scorer", "bodyparts", "coords"} <= heads.keys():
        raise UserError(
            f"{source}: no CSV file of DeepLabCut: its first lines must begin with scorer,"
            " bodyparts and coords"
        )
    coordinates = heads["coords"]
    first = next((k for k, cell in enumerate(coordinates) if cell in {"x", "y"}), 0)
    individuals = heads.get("individuals", [""] * len(coordinates))
    if not first or not len(coordinates) == len(heads["bodyparts"]) == len(individuals):
        raise UserError(f"{source}: the lines bodyparts and coords do not fit each other")
    cells = zip(individuals, heads["bodyparts"], coordinates, strict=True)
    return first, [_Column(*cell) for cell in cells][first:]


def _category_name(individuals: list[str]) -> str:
    return "animal" if individuals != [""] else "person"


def _file_name(cells: list[str]) -> str:
    """One cell with a path of either system, or a cell per folder."""
    return "/".join(cell for cell in cells if cell).replace("\\", "/")


def _people(
    labels: Labels, individuals: list[str], columns: list[_Column], cells: list[str]
) -> Iterator[Person]:
    names = labels.category.keypoints
    for individual in individuals:
        keypoints = unlabelled(len(names))
        for column, cell in zip(columns, cells, strict=True):
            if column.individual == individual and column.keypoint in names:
                value, axis = finite(cell), _AXES.get(column.coordinate)
                row = keypoints[names.index(column.keypoint)]
                if axis is not None and value is not None:
                    row[axis] = value
                    row[2] += 1
        keypoints[keypoints[:, 2] < 2] = 0
        if keypoints.any():
            yield Person(len(labels.photos) - 1, keypoints)
        else:
            labels.dropped["no keypoints"] += 1
