"""The gallery: the worst instances of each kind, cut out of their photos, within a budget."""

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from cpn.data.image_files import read_image
from cpn.errors import UserError, os_error_text
from cpn.report.data import GalleryItem, Kind, ReportData

LOWEST_OKS = "lowest OKS"
_QUALITY = 72
# Around the person, as a share of its size; a point further away than `_REACH` sizes of the box
# is not worth shrinking the person for.
_MARGIN, _REACH, _LEAST_PIXELS = 0.1, 0.5, 24.0


@dataclass(frozen=True)
class GalleryLimits:
    """How much of the gallery a page can hold.

    Attributes:
        per_kind: at most so many instances of each kind.
        picture_bytes: of all pictures as they stand in the page, that is in base64.
        side: of a picture's longer side, in pixels.
    """

    per_kind: int = 100
    picture_bytes: int = 6_000_000
    side: int = 384


class KindCount(NamedTuple):
    """Of a kind there are `found`, and the page shows `shown` of them."""

    name: str
    found: int
    shown: int


class Crop(NamedTuple):
    """A part of the photo: left, top, width and height in its pixels, and why it has no picture."""

    xywh: tuple[float, float, float, float]
    picture: str | None
    problem: str | None


@dataclass(frozen=True)
class Gallery:
    """What the page shows.

    Attributes:
        items: records for the page's script, lowest OKS first.
        counts: found and shown by kind.
        unreadable: of how many the photo could not be read.
        unknown: of how many it is not known where the photo is.
    """

    items: list[dict[str, Any]]
    counts: list[KindCount]
    unreadable: int
    unknown: int


def build_gallery(data: ReportData, limits: GalleryLimits) -> Gallery:
    """Choose, cut out and encode, kind by kind in turn, until the budget is spent."""
    chosen, records, spent = _in_turn(data.gallery, limits.per_kind), [], 0
    shown = []
    for item in chosen:
        crop = _cut(item, limits.side)
        size = len(crop.picture or "")
        if spent + size > limits.picture_bytes:
            break
        spent += size
        shown.append(item)
        records.append(_record(item, crop))
    order = sorted(range(len(shown)), key=lambda at: _least(shown[at].oks))
    unknown = sum(item.photo is None for item in shown)
    unreadable = sum(record["problem"] is not None for record in records) - unknown
    return Gallery([records[at] for at in order], _counts(data, shown), unreadable, unknown)


def worst(items: Sequence[GalleryItem], kind: Kind | None, limit: int) -> list[GalleryItem]:
    """The worst of a kind; of None, those with the lowest OKS.

    The surest false positives, the largest false negatives, otherwise the lowest OKS; equal ones in
    the order of their ids, so that a report is the same whenever it is made.
    """
    if kind is None:
        of_kind = [item for item in items if item.oks is not None]
    else:
        of_kind = [item for item in items if kind in item.kinds]

    def badness(item: GalleryItem) -> tuple[float, int, int, int]:
        if kind is Kind.FALSE_POSITIVE:
            first = -_least(item.score, missing=-math.inf)
        elif kind is Kind.FALSE_NEGATIVE:
            first = -item.size
        else:
            first = _least(item.oks)
        return first, item.image_id, item.annotation_id or 0, item.result_index or 0

    return sorted(of_kind, key=badness)[:limit]


def _in_turn(items: Sequence[GalleryItem], per_kind: int) -> Iterator[GalleryItem]:
    """Each kind's worst, then each kind's second worst, ...; every item once."""
    lists = [worst(items, kind, per_kind) for kind in (None, *Kind)]
    seen: set[int] = set()
    for round_ in zip_longest(*lists):
        for item in round_:
            if item is not None and id(item) not in seen:
                seen.add(id(item))
                yield item


def _counts(data: ReportData, shown: Sequence[GalleryItem]) -> list[KindCount]:
    def count(items: Sequence[GalleryItem], kind: Kind) -> int:
        return sum(kind in item.kinds for item in items)

    return [
        KindCount(kind, max(data.found.get(kind, 0), count(data.gallery, kind)), count(shown, kind))
        for kind in Kind
    ]


def _least(value: float | None, *, missing: float = math.inf) -> float:
    return missing if value is None or not math.isfinite(value) else value


def _cut(item: GalleryItem, side: int) -> Crop:
    wanted = _region(item)
    if item.photo is None:
        return Crop(wanted, None, "no photo is known")
    try:
        photo = read_image(item.photo)
    except UserError as error:
        return Crop(wanted, None, str(error))
    except OSError as error:
        return Crop(wanted, None, os_error_text(error))
    left, top, right, bottom = _inside(wanted, photo.shape[1], photo.shape[0])
    if right <= left or bottom <= top:
        return Crop(wanted, None, "the person lies outside the photo")
    pixels = photo[top:bottom, left:right]
    scale = min(1.0, side / max(pixels.shape[:2]))
    if scale < 1:
        size = [max(1, round(scale * pixels.shape[axis])) for axis in (1, 0)]
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    # A pixel's centre is at integers here and at halves in SVG.
    xywh = (left - 0.5, top - 0.5, float(right - left), float(bottom - top))
    return Crop(xywh, _data_url(pixels), None)


def _region(item: GalleryItem) -> tuple[float, float, float, float]:
    """x, y, width, height around the box and the points that are not far from it."""
    x, y, width, height = (float(value) for value in item.box_xywh)
    low, high = np.array([x, y]), np.array([x + width, y + height])
    reach = _REACH * max(width, height)
    points = np.concatenate([_labelled(item.truth), _finite(item.predicted)])
    if len(points):
        low = np.maximum(np.minimum(low, points.min(axis=0)), low - reach)
        high = np.minimum(np.maximum(high, points.max(axis=0)), high + reach)
    size = np.maximum(high - low, _LEAST_PIXELS)
    middle = (low + high) / 2
    left, top = (middle - (0.5 + _MARGIN) * size).tolist()
    return (left, top, *((1 + 2 * _MARGIN) * size).tolist())


def _labelled(points: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """(N, 2) the finite ones of (K, 3) with v > 0."""
    return _finite(None if points is None else points[points[:, 2] > 0])


def _finite(points: NDArray[np.float64] | None) -> NDArray[np.float64]:
    if points is None:
        return np.empty((0, 2))
    return np.asarray(points[np.isfinite(points[:, :2]).all(axis=1), :2])


def _inside(
    xywh: tuple[float, float, float, float], width: int, height: int
) -> tuple[int, int, int, int]:
    """Left, top, right, bottom in whole pixels of the photo."""
    x, y, w, h = xywh
    left, top = max(0, math.floor(x)), max(0, math.floor(y))
    return left, top, min(width, math.ceil(x + w)), min(height, math.ceil(y + h))


def _data_url(pixels: NDArray[np.uint8]) -> str:
    written, content = cv2.imencode(
        ".webp", np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_WEBP_QUALITY, _QUALITY]
    )
    assert written, "a crop is 8-bit RGB and smaller than WebP's 16383 pixels"
    return "data:image/webp;base64," + base64.b64encode(content.tobytes()).decode()


def _record(item: GalleryItem, crop: Crop) -> dict[str, Any]:
    """What the page's script knows of an item; points in the photo's pixels, a tenth of one."""
    return {
        "kinds": list(item.kinds),
        "image": int(item.image_id),
        "name": _name(item.photo),
        "annotation": _whole(item.annotation_id),
        "result": _whole(item.result_index),
        "oks": _rounded(item.oks, 4),
        "score": _rounded(item.score, 4),
        "size": round(item.size, 1),
        "box": [round(float(value), 1) for value in item.box_xywh],
        "crop": [round(value, 1) for value in crop.xywh],
        "truth": _points(item.truth),
        "predicted": _points(item.predicted),
        "types": None if item.keypoint_types is None else list(item.keypoint_types),
        "picture": crop.picture,
        "problem": crop.problem,
    }


def _name(photo: Path | None) -> str | None:
    return None if photo is None else photo.name


def _whole(number: int | None) -> int | None:
    return None if number is None else int(number)  # NumPy's are no JSON


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), digits)


def _points(points: NDArray[np.float64] | None) -> list[list[float | None]] | None:
    if points is None:
        return None
    digits: Mapping[int, int] = {0: 1, 1: 1, 2: 3}
    return [
        [_rounded(value, digits[at]) for at, value in enumerate(row)] for row in points.tolist()
    ]
