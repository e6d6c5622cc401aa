"""The page's files, as they are served: all of them are this package's own."""

from dataclasses import dataclass
from importlib.resources import files

import jinja2

from cpn.report.palette import DARK, LIGHT, css_variables

MIB = 1 << 20
SCRIPTS = (
    "app.js",
    "camera.js",
    "drawn_box.js",
    "heatmaps.js",
    "photo.js",
    "server.js",
    "theme.js",
)


@dataclass(frozen=True)
class Facts:
    """What the page tells of what runs behind it.

    Attributes:
        model: name and value of each fact about the networks.
        has_detector: without one the whole photo is one person.
        max_upload_mib: of a file.
        max_megapixels: of a photo.
        keypoint_threshold: where the page's slider starts.
    """

    model: list[tuple[str, str]]
    has_detector: bool
    max_upload_mib: float
    max_megapixels: float
    keypoint_threshold: float

    @property
    def max_upload_bytes(self) -> int:
        """Of a file."""
        return int(self.max_upload_mib * MIB)


def page_html(facts: Facts) -> str:
    """The document; styles and scripts are files of their own."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_asset("cpn.demo", "page.html")).render(facts=facts)


def style_sheet() -> str:
    """The reports' colours and base, then the page's own."""
    dark = css_variables(DARK)
    colors = (
        f":root {{ {css_variables(LIGHT)} color-scheme: light; }}\n"
        "@media (prefers-color-scheme: dark) {"
        f' :root:not([data-theme="light"]) {{ {dark} color-scheme: dark; }} }}\n'
        f':root[data-theme="dark"] {{ {dark} color-scheme: dark; }}\n'
    )
    return colors + _asset("cpn.report", "base.css") + _asset("cpn.demo", "page.css")


def scripts() -> dict[str, str]:
    """Modules by file name; theme.js is the reports'."""
    return {
        name: _asset("cpn.report" if name == "theme.js" else "cpn.demo", name) for name in SCRIPTS
    }


def _asset(package: str, name: str) -> str:
    return (files(package) / "assets" / name).read_text(encoding="utf-8")
