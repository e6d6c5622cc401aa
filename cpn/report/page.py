"""Writes the report as one HTML file: styles, script, charts and pictures are all in it."""

import math
from itertools import groupby
from pathlib import Path
from typing import Any

from cpn.files.atomic import write_atomically
from cpn.report.charts import charts, figure_text
from cpn.report.data import Figure, KeypointType, ReportData, Section
from cpn.report.document import Page, drawn_by_section
from cpn.report.gallery import LOWEST_OKS, Gallery, GalleryLimits, build_gallery

_NOT_EVALUATED = {
    Section.CURVES: "Left out: no precision-recall curves were computed in this evaluation.",
    Section.KEYPOINTS: "Left out: no figures per keypoint were computed in this evaluation.",
    Section.ERRORS: "Left out: the errors were not diagnosed in this evaluation.",
    Section.SLICES: "Left out: the people were not sliced in this evaluation.",
    Section.CALIBRATION: "Left out: the scores' calibration was not computed in this evaluation.",
    Section.GALLERY: "Left out: no instances were handed on for the gallery.",
}


def write_report(data: ReportData, path: Path, *, limits: GalleryLimits | None = None) -> int:
    """Write the page, complete or not at all.

    Args:
        data: what is shown.
        path: the HTML file; its folder is made.
        limits: of the gallery; None: 100 of a kind and 6 MB of pictures, so that the page stays
            below 10 MB however many people there are.

    Returns:
        Its size in bytes.

    Raises:
        OSError: it cannot be written; what was there is unchanged.
    """
    gallery = build_gallery(data, limits or GalleryLimits())
    content = render(data, gallery).encode()
    write_atomically(path, content)
    return len(content)


def render(data: ReportData, gallery: Gallery) -> str:
    """The page as text."""
    return _PAGE.render(
        data=data,
        gallery=gallery,
        document=_document(data, gallery),
        charts=drawn_by_section(charts(data)),
        types=list(KeypointType),
        areas=_areas(data),
        slice_groups=[(name, list(x)) for name, x in groupby(data.slices, lambda x: x.group)],
        missing={
            section: data.why_missing.get(section, _NOT_EVALUATED[section]) for section in Section
        },
        lowest_oks=LOWEST_OKS,
    )


def _document(data: ReportData, gallery: Gallery) -> dict[str, Any]:
    """What the script reads; `tojson` escapes what could end its block."""
    skeleton = data.skeleton
    return {
        "names": [name.replace("_", " ") for name in skeleton.keypoint_names],
        "limbs": [list(limb) for limb in skeleton.limbs],
        "items": gallery.items,
    }


def _areas(data: ReportData) -> list[str]:
    """The columns of AP, in the order in which the rows have them."""
    rows = [*data.keypoints, *data.parts]
    return list(dict.fromkeys(area for row in rows for area in row.ap))


def _interval(figure: Figure) -> str:
    return "{:.3f}\N{EN DASH}{:.3f}".format(*figure.interval) if figure.interval else ""


def _number(value: float | None, *, signed: bool = False) -> str:
    return figure_text(Figure(math.nan if value is None else float(value)), signed=signed)


def _percent(share: float | None) -> str:
    return "\N{EN DASH}" if share is None or not math.isfinite(share) else f"{share:.1%}"


def _count(number: int | None) -> str:
    return "\N{EN DASH}" if number is None else f"{number:,}"


_PAGE = Page(
    package="cpn.report",
    template="page.html",
    styles=("page.css",),
    scripts=("gallery.js",),
    filters={
        "figure": figure_text,
        "interval": _interval,
        "percent": _percent,
        "words": lambda name: str(name).replace("_", " "),
        "count": _count,
        "number": _number,
    },
)
