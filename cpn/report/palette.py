"""The colours of the report, once for light and once for dark paper.

A figure is drawn in the light ones. In the page each of them becomes a CSS variable, so that one
drawing serves both; therefore no two names may have the same light colour. Text has a contrast of
at least 4.5 : 1 with its paper and marks of at least 3 : 1 (WCAG 2.2, 1.4.3 and 1.4.11), which
`tests/report/test_palette.py` holds.
"""

import re
from collections.abc import Mapping

# The photos' overlay colours are in page.css: they lie on photos, not on paper.
LIGHT = {
    "paper": "#ffffff",
    "card": "#f5f6f8",
    "ink": "#1a1f26",
    "muted": "#57606b",
    "line": "#d3d8de",
    "accent": "#0b57d0",
    "good": "#2b8a66",
    "jitter": "#a86c05",
    "inversion": "#7b4bc4",
    "swap": "#1878c9",
    "miss": "#cb3a31",
    "score": "#66717f",
    "false_positive": "#b83280",
    "false_negative": "#4b5a86",
    # A row from low to high, for OKS 0.50 ... 0.95.
    "row0": "#3d1f8f",
    "row1": "#5a22a4",
    "row2": "#7526ad",
    "row3": "#8f2bab",
    "row4": "#a7339f",
    "row5": "#bb3e8e",
    "row6": "#c94b78",
    "row7": "#d1585f",
    "row8": "#cf6644",
    "row9": "#c37424",
}
DARK = {
    "paper": "#14171c",
    "card": "#1d2128",
    "ink": "#e8ebef",
    "muted": "#a3adb9",
    "line": "#363d47",
    "accent": "#8ab4f8",
    "good": "#5cc79c",
    "jitter": "#e5ac45",
    "inversion": "#b794f0",
    "swap": "#6cb4f2",
    "miss": "#f3857d",
    "score": "#97a3b1",
    "false_positive": "#ee86bf",
    "false_negative": "#96a6d6",
    "row0": "#8f86e8",
    "row1": "#a383ea",
    "row2": "#b782e4",
    "row3": "#c982d9",
    "row4": "#d884c9",
    "row5": "#e488b5",
    "row6": "#ec8f9f",
    "row7": "#f09a86",
    "row8": "#f0a86c",
    "row9": "#ebb955",
}
ROW = tuple(LIGHT[f"row{step}"] for step in range(10))

_NAMES = {color: name for name, color in LIGHT.items()}
_COLOR = re.compile(r"#[0-9a-fA-F]{6}\b")


def with_variables(style: str) -> str:
    """Every light colour in a text as its CSS variable; other colours stay."""

    def variable(found: re.Match[str]) -> str:
        name = _NAMES.get(found[0].lower())
        return found[0] if name is None else f"var(--{name.replace('_', '-')})"

    return _COLOR.sub(variable, style)


def css_variables(colors: Mapping[str, str]) -> str:
    """`--ink: #1a1f26; …` for a style sheet."""
    return " ".join(f"--{name.replace('_', '-')}: {color};" for name, color in colors.items())


def contrast(first: str, second: str) -> float:
    """WCAG's contrast ratio of two #rrggbb colours, 1..21."""
    dark, light = sorted((_luminance(first), _luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: str) -> float:
    channels = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
