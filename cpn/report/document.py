"""A page as one HTML file that needs nothing else: styles, scripts and drawings are all in it.

`assets/base.html` is the frame of every page, in light and dark; what a page adds are a template
that extends it, style sheets, scripts and filters.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from cpn.errors import one_line
from cpn.report.drawing import Chart, to_svg
from cpn.report.palette import DARK, LIGHT, css_variables

_HOME = "cpn.report"

DrawnCharts = dict[str, list[tuple[Chart, Markup]]]


@dataclass(frozen=True)
class Page:
    """A kind of page. All files are in the folder `assets` of its package, or of cpn.report.

    Attributes:
        package: whose files are taken first.
        template: extends base.html.
        styles: after base.css.
        scripts: after theme.js.
        filters: for the template, by name.
    """

    package: str
    template: str
    styles: Sequence[str]
    scripts: Sequence[str]
    filters: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    def render(self, **shown: Any) -> str:  # noqa: ANN401 - whatever the template shows
        """The page as text; only its own scripts can run in it, and it cannot load anything."""
        style = "".join(map(self._asset, ("base.css", *self.styles)))
        script = "".join(map(self._asset, ("theme.js", *self.scripts)))
        return (
            self._environment()
            .get_template(self.template)
            .render(
                **shown,
                css=Markup(style),  # noqa: S704 - our own files
                script=Markup(script),  # noqa: S704 - our own files
                script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
                light=Markup(css_variables(LIGHT)),  # noqa: S704 - our own colours
                dark=Markup(css_variables(DARK)),  # noqa: S704 - our own colours
            )
        )

    def _environment(self) -> jinja2.Environment:
        environment = jinja2.Environment(
            loader=jinja2.FunctionLoader(self._asset),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            finalize=_printable,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= self.filters
        # A NaN is no JSON: it would cost all records of a page, in the reader's browser.
        environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
        return environment

    def _asset(self, name: str) -> str:
        own = files(self.package) / "assets" / name
        found = own if own.is_file() else files(_HOME) / "assets" / name
        return found.read_text(encoding="utf-8")


def drawn_by_section(charts: Sequence[Chart]) -> DrawnCharts:
    """Charts and their SVG by the first word of their key."""
    found: DrawnCharts = {}
    for chart in charts:
        svg = Markup(to_svg(chart))  # noqa: S704 - serialised XML, names are escaped in it
        found.setdefault(chart.key.partition("-")[0], []).append((chart, svg))
    return found


def _printable(value: Any) -> Any:  # noqa: ANN401 - whatever a template shows
    """Names may hold control characters and halves of characters, which no page can."""
    return one_line(value) if isinstance(value, str) and not isinstance(value, Markup) else value
