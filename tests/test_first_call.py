"""The first thing that a newcomer types: a program alone, with --help, with a wrong key."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[1] / "scripts").glob("*.py"))


def _call(script: Path, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_help_is_given_from_any_folder(script: Path, tmp_path: Path) -> None:
    done = _call(script, tmp_path, "--help")
    assert done.returncode == 0, done.stderr
    assert "usage: " in done.stdout
    assert script.name in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("arguments", [[], ["nonsense=1"]], ids=["alone", "wrong"])
def test_what_is_missing_or_wrong_is_told_without_a_traceback(
    script: Path, arguments: list[str], tmp_path: Path
) -> None:
    if script.stem == "make_synthetic" and not arguments:  # it needs nothing
        arguments = ["train_images=1", "val_images=0"]
    done = _call(script, tmp_path, *arguments)
    told = done.stdout + done.stderr
    assert done.returncode == 2
    assert "Traceback" not in told
    # check_data tells what it finds, as a verdict.
    assert any(word in told for word in ("error: ", "verdict: "))
