"""Draws who imports whom, from the code: `python -m tests.import_graph` writes the docs' picture.

A row is a rung of the ladder in `test_architecture.py`; an arrow is left out where a way over
others leads to the same place, which leaves the shape and takes away most of the lines.
"""

from collections.abc import Iterator
from html import escape
from pathlib import Path

from tests.test_architecture import LADDER, _home, _imports, _trees

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "import_graph.svg"
ROW, BOX, HEIGHT, MARGIN, WIDTH = 56, 7.2, 26, 12, 860.0
STYLE = """
  text { font: 12px ui-monospace, monospace; text-anchor: middle; fill: #1c2733; }
  rect { fill: #eef3f8; stroke: #5b7c99; }
  path { fill: none; stroke: #8aa0b5; stroke-opacity: .7; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e3eaf1; } rect { fill: #22303d; stroke: #7f9cb8; } path { stroke: #93a9bf; }
  }
"""


def edges() -> dict[str, set[str]]:
    """Which entries of the ladder each one imports."""
    found: dict[str, set[str]] = {name: set() for rung in LADDER for name in rung}
    for module, tree in _trees().items():
        home = _home(module)
        if home is not None:
            others = {_home(name) for name in _imports(tree)}
            found[home] |= {other for other in others if other is not None and other != home}
    return found


def reduced(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Without arrows that a longer way stands for."""

    def reached(start: str) -> set[str]:
        return graph[start].union(*(reached(other) for other in graph[start]))

    return {
        name: {one for one in others if not any(one in reached(other) for other in others)}
        for name, others in graph.items()
    }


def places() -> dict[str, tuple[float, float]]:
    """The middle of every box; those of a row are spread over the width."""
    found = {}
    for number, rung in enumerate(LADDER):
        widths = [_width(name) for name in rung]
        gap = (WIDTH - sum(widths)) / (len(rung) + 1)
        x = gap
        for name, width in zip(rung, widths, strict=True):
            found[name] = (x + width / 2, MARGIN + HEIGHT / 2 + ROW * number)
            x += width + gap
    return found


def drawn() -> str:
    """The picture as SVG."""
    height = 2 * MARGIN + ROW * (len(LADDER) - 1) + HEIGHT
    lines = [*_arrows(), *_boxes()]
    size = f'viewBox="0 0 {WIDTH:g} {height}" width="{WIDTH:g}" height="{height}"'
    title = "<title>Who imports whom in cpn: arrows point down only</title>"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{title}<style>{STYLE}</style>'
    return "\n".join([head, *lines, "</svg>", ""])


def _width(name: str) -> float:
    return BOX * len(_label(name)) + 16


def _label(name: str) -> str:
    return name.removeprefix("cpn.")


def _arrows() -> Iterator[str]:
    where = places()
    for name, others in sorted(reduced(edges()).items()):
        x0, y0 = where[name][0], where[name][1] + HEIGHT / 2
        for other in sorted(others):
            x1, y1 = where[other][0], where[other][1] - HEIGHT / 2
            bend = (y1 - y0) / 2
            curve = f"M{x0:.1f} {y0:.1f}C{x0:.1f} {y0 + bend:.1f} {x1:.1f} {y1 - bend:.1f}"
            yield f'<path d="{curve} {x1:.1f} {y1:.1f}"/>'


def _boxes() -> Iterator[str]:
    for name, (x, y) in places().items():
        width = _width(name)
        place = f'x="{x - width / 2:.1f}" y="{y - HEIGHT / 2:.1f}"'
        yield f'<rect {place} width="{width:.1f}" height="{HEIGHT}" rx="5"/>'
        yield f'<text x="{x:.1f}" y="{y + 4:.1f}">{escape(_label(name))}</text>'


if __name__ == "__main__":
    PICTURE.write_text(drawn(), encoding="utf-8")
