"""How Sphinx makes build/docs of docs/ and of the docstrings: `make docs`."""

import importlib.metadata
import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

project = "cpn"
try:
    release = importlib.metadata.version("cpn-pose")
except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
    release = ""

extensions = [
    "myst_parser",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]

# One page per package, written before every build and never committed.
apidoc_modules = [
    {
        "path": str(ROOT / "cpn"),
        "destination": "api",
        "module_first": True,
        "automodule_options": {"members", "show-inheritance"},
    }
]
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_use_ivar = True
default_role = "py:obj"  # `name` in a docstring is code, and a link where there is such an object
toc_object_entries = False  # 6,000 of them beside every page would take a minute to write

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "cpn"
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False

# What numpy makes of NDArray[float64] in annotations.
_ARRAY = re.compile(
    r"(?:~?numpy\.)?ndarray\[tuple\[(?:~?typing\.)?Any, \.\.\.\], "
    r"(?:~?numpy\.)?dtype\[(?:~?numpy\.)?(\w+)\]\]"
)


def _with_short_arrays(*given: object) -> tuple[str | None, ...]:
    """In a signature and in what it returns."""
    return tuple(_ARRAY.sub(r"NDArray[\1]", str(text)) if text else None for text in given[-2:])


def _as_restructured_text(*given: object) -> None:
    """Docstrings are plain text with `code`: `*`, `|`, `x_` mean themselves, `name`s many names."""
    lines = given[-1]
    assert isinstance(lines, list)
    for number, full in enumerate(lines):
        line = _ARRAY.sub(r"NDArray[\1]", full)
        if line.lstrip().startswith((">>>", "...")):
            continue
        parts = re.split(r"(`[^`]*`)", line)
        parts[::2] = [re.sub(r"(?<!\\)([*|]|_(?!\w))", r"\\\1", part) for part in parts[::2]]
        lines[number] = re.sub(r"(`[^`]+`)(?=\w)", r"\1\\ ", "".join(parts))


def _is_left_out(*given: object) -> bool | None:
    """The fields of named tuples, which "Attributes" tells of."""
    documented = str(getattr(given[3], "__doc__", ""))
    return True if documented.startswith("Alias for field number") else None


def _without_links_out(*given: object) -> None:
    """Files of the checkout that are no pages, `[data/README.md](../data/README.md)`, are names."""
    source = given[-1]
    assert isinstance(source, list)
    source[0] = re.sub(r"(?<!!)\[([^\]]+)\]\(\.\./[^)]+\)", r"`\1`", source[0])


def setup(app: Sphinx) -> None:
    """After napoleon, which has priority 500."""
    app.connect("autodoc-process-docstring", _as_restructured_text, priority=900)
    app.connect("autodoc-process-signature", _with_short_arrays)
    app.connect("autodoc-skip-member", _is_left_out)
    app.connect("source-read", _without_links_out)
