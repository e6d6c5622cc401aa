"""A chart with its words, and its two forms: inline SVG that follows the theme, and pixels."""

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cpn.errors import one_line
from cpn.report.palette import LIGHT, with_variables

# Narrow on purpose: at 360 pixels a chart is as wide as the screen and its text is still read.
WIDTH_INCHES = 4.0
ROW_INCHES = 0.22
MAX_NAME = 24
# Names come from files: `$` is no formula. Text stays text in the SVG, to be read and selected.
_STYLE: dict[str, Any] = {
    "text.parse_math": False,
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 9.0,
    "grid.linewidth": 0.6,
    "figure.facecolor": LIGHT["paper"],
    "axes.facecolor": LIGHT["paper"],
    "text.color": LIGHT["ink"],
    "axes.labelcolor": LIGHT["muted"],
    "axes.edgecolor": LIGHT["muted"],
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "grid.color": LIGHT["line"],
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "legend.labelcolor": LIGHT["ink"],
}
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


@dataclass(frozen=True)
class Chart:
    """A drawing and what is said of it.

    Attributes:
        key: unique in a report and fit for an id; the tag in TensorBoard.
        title: above it.
        summary: what it shows, in words, for who cannot see it.
        figure: drawn in the colours of `cpn.report.palette.LIGHT`.
        tips: by the gid of a mark, what is shown when one points at it.
    """

    key: str
    title: str
    summary: str
    figure: Figure
    tips: Mapping[str, str] = field(default_factory=dict)


def style() -> Any:  # noqa: ANN401 - matplotlib does not name the type
    """A context in which charts must be drawn and written; the user's own style stays out of it."""
    settings: dict[Any, Any] = {**mpl.rcParamsDefault, **_STYLE, "backend": "agg"}
    return mpl.rc_context(settings)


def new_figure(height_inches: float) -> Figure:
    """An empty figure of the common width."""
    return Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")


def new_axes(height_inches: float) -> tuple[Figure, Axes]:
    """A figure of the common width with one pair of axes."""
    figure = new_figure(height_inches)
    return figure, figure.add_subplot()


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Rows 0, 1, ... from the top down, with their names instead of numbers."""
    axes.set_yticks(range(len(names)), [shortened(one_line(name)) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0, labelcolor=LIGHT["ink"])
    axes.grid(visible=False, axis="y")


def shortened(name: str, longest: int = MAX_NAME) -> str:
    """A name that fits beside a chart."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def to_svg(chart: Chart) -> str:
    """An `<svg>` element to stand in HTML: no ids but its own, colours by CSS variable."""
    with style(), _any_glyph(), mpl.rc_context({"svg.hashsalt": chart.key}):
        written = io.StringIO()
        chart.figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    root = ET.fromstring(written.getvalue())  # noqa: S314 - matplotlib's own
    _strip(root)
    _own_ids(root, chart)
    width, height = (float(part) for part in root.attrib["viewBox"].split()[2:])
    root.attrib.clear()
    root.attrib.update(
        {
            "viewBox": f"0 0 {width:g} {height:g}",
            "role": "img",
            "aria-label": one_line(chart.summary),
        }
    )
    return with_variables(ET.tostring(root, encoding="unicode"))


def to_pixels(chart: Chart, *, dots_per_inch: int = 160) -> NDArray[np.uint8]:
    """(H, W, 3) RGB, the title above."""
    with style(), _any_glyph():
        canvas: Any = FigureCanvasAgg(chart.figure)  # its methods have no types
        chart.figure.suptitle(one_line(chart.title), fontsize=10)
        chart.figure.set_dpi(dots_per_inch)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    return np.ascontiguousarray(pixels)


@contextmanager
def _any_glyph() -> Iterator[None]:
    """Names may be in any script: the page's reader has the font, TensorBoard shows a box."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _strip(root: ET.Element) -> None:
    """Drop the metadata, the style of every element of the page, and the namespaces."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in {"metadata", "style"}:
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: x for key, x in element.attrib.items()}
        # As matplotlib pretty-prints, half of the characters are blanks.
        element.text = element.text if (element.text or "").strip() else None
        element.tail = None


def _own_ids(root: ET.Element, chart: Chart) -> None:
    """Keep the ids that are referred to, made unique in the page, and add the tips."""
    used = {x["href"].removeprefix("#") for x in (e.attrib for e in root.iter()) if "href" in x}
    for element in root.iter():
        used |= {name for x in element.attrib.values() for name in _REFERENCE.findall(x)}
    for element in root.iter():
        name = element.attrib.pop("id", None)
        if name in used:
            element.attrib["id"] = f"{chart.key}-{name}"
        if name in chart.tips:
            tip = ET.Element("title")
            tip.text = one_line(chart.tips[str(name)])
            element.insert(0, tip)
        for key, value in element.attrib.items():
            if key == "href":
                element.attrib[key] = f"#{chart.key}-{value.removeprefix('#')}"
            else:
                element.attrib[key] = _REFERENCE.sub(rf"url(#{chart.key}-\1)", value)
