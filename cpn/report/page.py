"""Writes the report as one HTML file: styles, script, charts and pictures are all in it."""

import base64
import hashlib
import math
from collections.abc import Sequence
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from cpn.atomic import write_atomically
from cpn.errors import one_line
from cpn.report.charts import charts, figure_text
from cpn.report.data import Figure, KeypointType, ReportData, Section
from cpn.report.drawing import Chart, to_svg
from cpn.report.gallery import LOWEST_OKS, Gallery, GalleryLimits, build_gallery
from cpn.report.palette import DARK, LIGHT, css_variables

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
    script = _asset("gallery.js")
    return (
        _environment()
        .get_template("page.html")
        .render(
            data=data,
            gallery=gallery,
            document=_document(data, gallery),
            charts=_by_section(charts(data)),
            types=list(KeypointType),
            areas=_areas(data),
            slice_groups=[(name, list(x)) for name, x in groupby(data.slices, lambda x: x.group)],
            missing={
                section: data.why_missing.get(section, _NOT_EVALUATED[section])
                for section in Section
            },
            lowest_oks=LOWEST_OKS,
            css=Markup(_asset("page.css")),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            light=Markup(css_variables(LIGHT)),  # noqa: S704 - our own colours
            dark=Markup(css_variables(DARK)),  # noqa: S704 - our own colours
        )
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": figure_text, "interval": _interval, "percent": _percent}
    environment.filters |= {"words": lambda name: str(name).replace("_", " "), "count": _count}
    environment.filters["number"] = _number
    # A NaN is no JSON: it would cost the whole gallery, in the reader's browser.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    return environment


def _asset(name: str) -> str:
    return (files("cpn.report") / "assets" / name).read_text(encoding="utf-8")


def _printable(value: Any) -> Any:  # noqa: ANN401 - whatever a template shows
    """Names may hold control characters and halves of characters, which no page can."""
    return one_line(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _document(data: ReportData, gallery: Gallery) -> dict[str, Any]:
    """What the script reads; `tojson` escapes what could end its block."""
    skeleton = data.skeleton
    return {
        "names": [name.replace("_", " ") for name in skeleton.keypoint_names],
        "limbs": [list(limb) for limb in skeleton.limbs],
        "items": gallery.items,
    }


def _by_section(drawn: Sequence[Chart]) -> dict[str, list[tuple[Chart, Markup]]]:
    """Charts and their SVG by the first word of their key."""
    found: dict[str, list[tuple[Chart, Markup]]] = {}
    for chart in drawn:
        svg = Markup(to_svg(chart))  # noqa: S704 - serialised XML, names are escaped in it
        found.setdefault(chart.key.partition("-")[0], []).append((chart, svg))
    return found


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
