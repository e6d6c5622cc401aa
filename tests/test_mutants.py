"""The mutants still fit the code, and tests/README.md tells of each; `make mutants` runs them."""

from pathlib import Path

import pytest

from tests.mutants import ROOT, Mutant, changed, read_mutants

MUTANTS = read_mutants()
README = (Path(__file__).parent / "README.md").read_text()


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.what for mutant in MUTANTS])
def test_a_mutant_fits_and_is_told_of(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text()
    assert changed(mutant, text) != text
    assert README.count(f"| {mutant.what} | `") == 1
    assert (ROOT / mutant.tests.split()[0]).is_file()


def test_names_are_unique() -> None:
    assert len({mutant.what for mutant in MUTANTS}) == len(MUTANTS) >= 20


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(SystemExit, match="gone: x has 'old' not once"):
        changed(Mutant("gone", "x", "old", "new", ""), "other text")
