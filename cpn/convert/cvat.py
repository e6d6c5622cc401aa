"""CVAT: the XML file of the export "CVAT for images 1.1"."""

import re
from collections import Counter, defaultdict
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse

from cpn.convert.labels import XYWH, Category, Labels, Person, Photo, Wishes, finite, unlabelled
from cpn.convert.photos import IMAGE_ENDINGS
from cpn.errors import UserError, first_line, one_line

# The picture of a skeleton in CVAT is SVG: numbered circles, and lines between the numbers.
_NODE = re.compile(r"<circle[^>]*>")
_EDGE = re.compile(r"<line[^>]*>")
_ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')


class _Skeleton(NamedTuple):
    """A label of type skeleton."""

    name: str
    keypoints: tuple[str, ...]
    limbs: tuple[tuple[str, str], ...]


def read_cvat(source: Path, wishes: Wishes) -> Labels:
    """Skeletons of CVAT's images; a box with a skeleton's `group_id` is this person's.

    A point that is `outside` has v = 0, an `occluded` one v = 1.

    Args:
        source: annotations.xml.
        wishes: `keypoints`: the names' order; None: as the task's labels have it; `images`: the
            folder of the photos, for frames of a video, whose names have no ending.

    Raises:
        UserError: the file is broken, another export, or has no skeletons or several kinds.
    """
    root = _root(source)
    if root.find("track") is not None:
        raise UserError(
            f'{source}: an export of a video\'s tracks; export it as "CVAT for images 1.1"'
        )
    skeleton = _skeleton(source, root)
    names = wishes.keypoints or skeleton.keypoints
    if set(names) != set(skeleton.keypoints):
        raise UserError(
            f"{source}: the skeleton '{one_line(skeleton.name)}' has the keypoints"
            f" {list(skeleton.keypoints)}; keypoints={list(names)} names others"
        )
    labels = Labels(Category(names, skeleton.limbs, name=skeleton.name))
    for image in root.iter("image"):
        where = f"{source}: image '{one_line(image.get('name', ''))}'"
        size = _number(where, image, "height"), _number(where, image, "width")
        name = _file_name(where, image.get("name", ""), wishes.images)
        labels.photos.append(Photo(name, (int(size[0]), int(size[1]))))
        boxes = _boxes(where, image)
        elements = list(image.iter("skeleton"))
        _require_own_groups(where, elements)
        for element in elements:
            labels.people.append(_person(where, element, labels, boxes))
        _count_unused(labels, image, {element.get("group_id") for element in elements})
    return labels


def _file_name(where: str, name: str, images: Path | None) -> str:
    """A frame of a video is named without the ending of its file."""
    if PurePosixPath(name).suffix:
        return name
    found = [
        f"{name}{end}" for end in IMAGE_ENDINGS if images and (images / f"{name}{end}").exists()
    ]
    if not found:
        raise UserError(
            f"{where}: the name has no ending, as CVAT names frames of a video; set images to the"
            " folder of their photos"
        )
    return found[0]


def _require_own_groups(where: str, elements: list[Element]) -> None:
    groups = Counter(group for element in elements if (group := element.get("group_id")))
    if shared := [group for group, count in groups.items() if count > 1]:
        raise UserError(
            f"{where}: {groups[shared[0]]} skeletons have group_id {shared[0]}; a group is one"
            " person and their box"
        )


def _count_unused(labels: Labels, image: Element, groups: set[str | None]) -> None:
    for box in image.iter("box"):
        if box.get("group_id") is None:
            labels.dropped["box without the group_id of a skeleton"] += 1
        elif box.get("group_id") not in groups:
            labels.dropped["box in a group without a skeleton"] += 1
    labels.dropped["points outside a skeleton"] += len(image.findall("points"))


def _root(source: Path) -> Element:
    try:
        root: Element | None = parse(source).getroot()
    except (ParseError, DefusedXmlException, UnicodeDecodeError, LookupError) as error:
        raise UserError(f"{source}: not an XML file to be read: {first_line(error)}") from error
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no such file: {source}") from error
    if root is None or root.tag != "annotations":
        raise UserError(f"{source}: no export of CVAT: it does not begin with <annotations>")
    return root


def _skeleton(source: Path, root: Element) -> _Skeleton:
    kinds = [label for label in root.iter("label") if label.findtext("type") == "skeleton"]
    names = [label.findtext("name") or "" for label in kinds]
    drawn = {element.get("label") for element in root.iter("skeleton")}
    if len(kinds) > 1:  # of a project's labels a task may use one
        kinds = [label for label in kinds if label.findtext("name") in drawn]
    if len(kinds) != 1:
        found = ", ".join(map(one_line, names)) or "none"
        raise UserError(f"{source}: skeleton labels: {found}; exactly one can be converted")
    name = kinds[0].findtext("name") or ""
    parts = [x for x in root.iter("label") if x.findtext("parent") == name]
    keypoints = tuple(part.findtext("name") or "" for part in parts)
    if not all(keypoints) or not keypoints or len(set(keypoints)) != len(keypoints):
        raise UserError(f"{source}: the skeleton '{one_line(name)}' has the points {keypoints}")
    return _Skeleton(name, keypoints, _limbs(kinds[0].findtext("svg") or "", keypoints))


def _limbs(picture: str, keypoints: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The lines between keypoints; nodes that name none are numbered in the keypoints' order."""
    named = dict(enumerate(keypoints, 1))
    for circle in _NODE.findall(picture):
        node = dict(_ATTRIBUTE.findall(circle))
        if node.get("data-label-name") in keypoints and node.get("data-node-id", "").isdecimal():
            named[int(node["data-node-id"])] = node["data-label-name"]
    lines = [dict(_ATTRIBUTE.findall(line)) for line in _EDGE.findall(picture)]
    ends = [(line.get("data-node-from", ""), line.get("data-node-to", "")) for line in lines]
    numbers = [(int(a), int(b)) for a, b in ends if a.isdecimal() and b.isdecimal()]
    return tuple((named[a], named[b]) for a, b in numbers if a in named and b in named and a != b)


def _boxes(where: str, image: Element) -> dict[str, XYWH]:
    """The boxes of a photo by group_id; those without one belong to nobody."""
    boxes = defaultdict(list)
    for box in image.iter("box"):
        x0, y0, x1, y1 = (_number(where, box, key) for key in ("xtl", "ytl", "xbr", "ybr"))
        if group := box.get("group_id"):
            boxes[group].append((x0, y0, x1 - x0, y1 - y0))
    if several := [group for group, found in boxes.items() if len(found) > 1]:
        raise UserError(f"{where}: several boxes have group_id {several[0]}; keep one per person")
    return {group: found[0] for group, found in boxes.items()}


def _person(where: str, element: Element, labels: Labels, boxes: dict[str, XYWH]) -> Person:
    names = labels.category.keypoints
    keypoints = unlabelled(len(names))
    for point in element.iter("points"):
        name = point.get("label", "")
        if name not in names:
            raise UserError(f"{where}: point '{one_line(name)}' is no keypoint of the skeleton")
        if point.get("outside") == "1":
            continue
        x, _, y = point.get("points", "").partition(",")
        place = finite(x), finite(y)
        if place[0] is None or place[1] is None:
            raise UserError(f"{where}: '{one_line(name)}' has points=\"{x},{y}\", not x,y")
        keypoints[names.index(name)] = (*place, 1 if point.get("occluded") == "1" else 2)
    return Person(len(labels.photos) - 1, keypoints, boxes.get(element.get("group_id", "")))


def _number(where: str, element: Element, key: str) -> float:
    value = finite(element.get(key))
    if value is None:
        raise UserError(f"{where}: <{element.tag}> has {key}={element.get(key)!r}, no number")
    return value
