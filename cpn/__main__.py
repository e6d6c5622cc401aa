"""`cpn train experiment=demo`, or `python -m cpn train …`: every program of `scripts`, anywhere.

In the repository they are files to be run; an installed package has them, and `configs`, in itself.
"""

import difflib
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

from cpn.errors import UserError
from cpn.process.program import leave
from cpn.version import __version__

INSTALLED = Path(__file__).parent / "programs" / "scripts"
REPOSITORY = Path(__file__).parents[1] / "scripts"


def programs() -> dict[str, Path]:
    """The files of all programs, by name."""
    folder = INSTALLED if INSTALLED.is_dir() else REPOSITORY
    return {file.stem: file for file in sorted(folder.glob("*.py"))}


def main() -> None:
    """Runs the program that the first argument names with the other arguments."""
    name, *rest = sys.argv[1:] or ["--help"]
    if name in {"--version", "-V"}:
        sys.stdout.write(f"cpn {__version__}\n")
        return
    if name in {"--help", "-h"}:
        sys.stdout.write(_help())
        return
    try:
        file = _file_of(name)
    except UserError as error:
        leave(error)
    sys.argv = [str(file), *rest]
    # As `python FILE` does: under this name the file runs its `main`, and what is made in it can be
    # sent to other processes.
    loader = SourceFileLoader("__main__", str(file))
    spec = spec_from_loader("__main__", loader)
    assert spec is not None, "there is a loader"
    loader.exec_module(module_from_spec(spec))


def _file_of(name: str) -> Path:
    known = programs()
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    raise UserError(f"no program {name!r}; there are: {', '.join(known)}{meant}")


def _help() -> str:
    lines = [f"  {name:<18} {_purpose(file)}" for name, file in programs().items()]
    return "\n".join(
        [
            "usage: cpn PROGRAM [key=value …]",
            "",
            *lines,
            "",
            "cpn PROGRAM --help has a program's keys; cpn --version the version.",
            "",
        ]
    )


def _purpose(file: Path) -> str:
    """The first sentence of a program's docstring, which is its first line."""
    first = file.read_text(encoding="utf-8").partition("\n")[0]
    return first.strip('"').partition(". ")[0].rstrip(".")


if __name__ == "__main__":
    main()
