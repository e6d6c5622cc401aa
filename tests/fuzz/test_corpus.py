"""Every file that ever crashed a fuzz target, and the seeds, through the same targets."""

import time
from pathlib import Path

import pytest

from cpn.errors import UserError
from tests.fuzz.mutations import mutate_json
from tests.fuzz.targets import TARGETS, tried

CORPUS = Path(__file__).parent / "corpus"
FILES = sorted(path for path in CORPUS.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", FILES, ids=[f"{path.parent.name}/{path.name}" for path in FILES])
def test_a_file_of_the_corpus_crashes_nothing(path: Path) -> None:
    began = time.monotonic()
    TARGETS[path.parent.name](path.read_bytes())
    assert time.monotonic() - began < 5


def test_every_target_has_seeds() -> None:
    assert {path.parent.name for path in FILES} == set(TARGETS)
    assert max(path.stat().st_size for path in FILES) < 64 * 1024


@pytest.mark.parametrize("name", ["annotations", "predictions", "manifest", "config"])
def test_changed_documents_crash_nothing(name: str) -> None:
    """H8: what the fuzzers do for minutes, for a moment."""
    seeds = [
        path.read_bytes()
        for path in FILES
        if path.parent.name == name and path.name.startswith("seed")
    ]
    for seed in range(50 if name == "config" else 150):
        TARGETS[name](mutate_json(seeds[seed % len(seeds)], 8192, seed))


def test_what_is_no_user_error_of_one_line_is_found() -> None:
    def wrong() -> None:
        raise UserError("two\nlines")

    with pytest.raises(AssertionError):
        tried(wrong)
    with pytest.raises(KeyError):
        tried(lambda: TARGETS["none"])
