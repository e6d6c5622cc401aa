"""Breaks the code in one place after the other: every time a test must go red.

    python tests/mutants.py [--only WORD ...] [--table]

For each mutant (tests/mutants.toml) the project is copied, the one place that it names is changed,
and its tests run until the first fails. `--table` prints the rows of tests/README.md. The last line
is `mutants=50 survived=0`; the exit code is 1 if one survived.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIED = ("cpn", "tests", "scripts", "configs", "docs", "README.md", "pyproject.toml")
TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True)
class Mutant:
    """One thing that could be wrong.

    Attributes:
        what: that, in words.
        file: which is changed.
        old: its text, which it has once.
        new: the text instead.
        tests: of which at least one must fail; pytest's arguments.
    """

    what: str
    file: str
    old: str
    new: str
    tests: str


def read_mutants() -> list[Mutant]:
    """All of tests/mutants.toml."""
    document = tomllib.loads((ROOT / "tests" / "mutants.toml").read_text())
    return [Mutant(**each) for each in document["mutant"]]


def changed(mutant: Mutant, text: str) -> str:
    """The file with the mistake in it."""
    if text.count(mutant.old) != 1:
        raise SystemExit(f"{mutant.what}: {mutant.file} has {mutant.old!r} not once")
    return text.replace(mutant.old, mutant.new)


def first_red_test(mutant: Mutant) -> str | None:
    """The test that fails in a copy of the project; None if all pass."""
    with tempfile.TemporaryDirectory(prefix="cpn-mutant-") as name:
        folder = Path(name)
        for part in COPIED:
            source = ROOT / part
            (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / part)
        target = folder / mutant.file
        target.write_text(changed(mutant, target.read_text()))
        options = ["-x", "-q", "-p", "no:cacheprovider", "--timeout=60", "-rfE", "-m", ""]
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *mutant.tests.split()],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": name},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # a loader's workers, too
            said, _ = process.communicate()
    if process.returncode == 0:
        return None
    found = re.search(r"^(?:FAILED|ERROR) tests/(\S+?)::(\w+)", said, flags=re.MULTILINE)
    if found is None and (process.returncode < 0 or "Timeout" in said):
        return f"{mutant.tests.removeprefix('tests/')}: does not end, or dies"
    if found is None:
        raise SystemExit(f"{mutant.what}: no test ran:\n{said[-3000:]}")
    return f"{found[1]}: {found[2]}"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="break the code, see the tests go red")
    parser.add_argument("--only", nargs="*", default=[], help="words of the mutants' names")
    parser.add_argument("--table", action="store_true", help="print rows for tests/README.md")
    options = parser.parse_args()
    chosen = [
        mutant
        for mutant in read_mutants()
        if not options.only or any(word in mutant.what for word in options.only)
    ]
    survived = 0
    for mutant in chosen:
        red = first_red_test(mutant)
        survived += red is None
        shown = "**survived**" if red is None else f"`{red}`"
        print(f"| {mutant.what} | {shown} |" if options.table else f"{mutant.what}: {shown}")
        sys.stdout.flush()
    print(f"mutants={len(chosen)} survived={survived}")
    raise SystemExit(survived > 0)


if __name__ == "__main__":
    main()
