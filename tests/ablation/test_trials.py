"""The journal of a search's trials, without any training."""

import importlib
import sys
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="extra sweep")

from cpn.ablation.space import Choices, Range
from cpn.ablation.trials import TrialBook
from cpn.errors import UserError

DIMENSIONS = (
    Choices("levels", {"C5": ("levels=[5]",), "C4": ("levels=[4]",)}),
    Range("lr", 1e-3, 1e-1, log=True, step=None),
    Range("width", 2, 8, log=False, step=2),
)
IDENTITY = {"given": "a=1", "configuration": "x"}


def book_of(folder: Path, identity: dict[str, str] | None = None, seed: int = 0) -> TrialBook:
    book = TrialBook(folder, DIMENSIONS, seed=seed, pruner="none", epochs=4)
    book.open(identity or IDENTITY)
    return book


def test_values_are_in_their_ranges(tmp_path: Path) -> None:
    book = book_of(tmp_path)
    for _ in range(8):
        trial = book.ask(at_random=True)
        assert trial.values["levels"] in {"C5", "C4"}
        assert 1e-3 <= float(trial.values["lr"]) <= 1e-1
        assert trial.values["width"] in {2, 4, 6, 8}
        assert trial.state == "running"


def test_suggestions_are_the_same_ones_with_and_without_a_break(tmp_path: Path) -> None:
    def values(folder: Path, *, reopened: bool) -> list[object]:
        book = book_of(folder)
        found: list[object] = []
        for number in range(13):
            if reopened:
                book = book_of(folder)
            trial = book.ask(at_random=False)
            found.append(trial.values)
            book.finish(trial.number, number / 20)
        return found

    whole = values(tmp_path / "a", reopened=False)
    assert values(tmp_path / "b", reopened=True) == whole
    assert all(whole.count(each) == 1 for each in whole)
    assert book_of(tmp_path / "c", seed=1).ask(at_random=False).values != whole[0]


def test_what_became_of_a_trial_is_kept(tmp_path: Path) -> None:
    book = book_of(tmp_path)
    for _ in range(5):
        book.ask(at_random=False)
    book.plan(0, ["levels=[5]"], "training", "use")
    book.report(0, {1: 0.1, 2: 0.2, 3: float("nan")})
    book.report(0, {2: 0.9, 4: 0.3})
    book.finish(0, 0.4)
    book.report(1, {1: 0.1})
    book.end(1, "pruned")
    book.end(2, "failed", "why\nit did")
    book.end(3, "repeated", "of trial 0")
    found = book_of(tmp_path).trials()
    assert [trial.state for trial in found] == ["done", "pruned", "failed", "repeated", "running"]
    assert [trial.ap for trial in found] == [0.4, 0.1, None, None, None]
    assert [trial.counts for trial in found] == [True, True, True, False, True]
    assert (found[0].training, found[0].use, found[0].evaluations) == ("training", "use", 3)
    assert list(found[0].overrides) == ["levels=[5]"]
    assert found[2].message == "why it did"


def test_a_line_that_a_kill_cut_is_dropped(tmp_path: Path) -> None:
    book = book_of(tmp_path)
    book.finish(book.ask(at_random=False).number, 0.5)
    journal = tmp_path / "trials.log"
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-20])
    trial = book_of(tmp_path).trials()[0]
    assert trial.state == "running"
    assert set(trial.values) == {"levels", "lr", "width"}
    journal.write_bytes(whole[:-20])
    book_of(tmp_path).finish(0, 0.25)
    assert book_of(tmp_path).trials()[0].ap == 0.25
    journal.write_bytes(b"no journal\n" + whole)
    with pytest.raises(UserError, match=r"trials.log is damaged \(.*\); move it away"):
        book_of(tmp_path)


def test_a_trial_whose_process_died_asking_is_completed(tmp_path: Path) -> None:
    book = book_of(tmp_path)
    trial = book.ask(at_random=False)
    journal = tmp_path / "trials.log"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]))
    again = book_of(tmp_path)
    assert set(again.trials()[0].values) == {"levels", "lr"}
    completed = again.completed(0)
    assert set(completed.values) == set(trial.values)
    assert completed.values["lr"] == trial.values["lr"]


def test_another_search_is_refused(tmp_path: Path) -> None:
    book_of(tmp_path)
    book_of(tmp_path, IDENTITY | {"given": "b=1"})
    with pytest.raises(UserError, match=r"another search \(then configuration x; now conf.* y\)"):
        book_of(tmp_path, IDENTITY | {"configuration": "y"})


def test_without_the_extra_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "cpn.ablation.trials")
    with pytest.raises(UserError, match=r"needs the extra sweep: pip install 'cpn-pose\[sweep\]'"):
        importlib.import_module("cpn.ablation.trials")


def test_a_trial_that_was_done_before_anybody_asked_is_compared_with(tmp_path: Path) -> None:
    """A pruner knows of those alone that it was asked of; a fast one is done between two looks."""
    book = TrialBook(tmp_path, DIMENSIONS, seed=0, pruner="halving", epochs=4)
    book.open(IDENTITY)
    good, bad = (book.ask(at_random=True).number for _ in range(2))
    book.report(good, {1: 0.5, 2: 0.6})
    book.finish(good, 0.6)
    book.report(bad, {1: 0.1, 2: 0.1})
    assert book.is_hopeless(bad)
