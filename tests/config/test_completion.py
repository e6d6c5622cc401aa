"""Shell completion of overrides: Hydra's, through our programs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"


def _ask(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "-sc", *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    return done.stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("model.pyr", {"model.pyramid."}),
        ("optimizer=", {"optimizer=adam", "optimizer=adamw", "optimizer=sgd"}),
        ("engine.ep", {"engine.epochs="}),
    ],
)
def test_keys_and_options_are_completed(typed: str, offered: set[str]) -> None:
    line = f"python scripts/train.py {typed}"
    found = _ask("query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
    assert set(found.split()) == offered


def test_the_shells_function_is_printed() -> None:
    assert "complete" in _ask("install=bash")
