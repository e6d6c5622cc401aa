import json
from pathlib import Path

import pytest

from cpn.ablation.ledger import Entry, Ledger
from cpn.errors import UserError


def entry(variant: str, seed: int, training: str = "t") -> Entry:
    return Entry(
        *(variant, seed, ["a=1"], training, "folder"),
        use=training,
        asked=training,
        timed="c",
        epochs=2,
        asked_epochs=3,
    )


def test_runs_are_planned_once_and_keep_what_became_of_them(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "study")
    ledger.plan("s", ["x=1"], "b", [entry("a", 0)])
    ledger.begin(("a", 0))
    ledger.note(("a", 0), state="done", ap=0.5)
    Ledger(tmp_path / "study").plan("s", ["x=1"], "b", [entry("a", 0), entry("a", 1)])
    entries = ledger.entries()
    assert [(e.key, e.state, e.attempts) for e in entries.values()] == [
        (("a", 0), "done", 1),
        (("a", 1), "planned", 0),
    ]
    assert entries["a", 0].ap == 0.5
    assert entries["a", 0].process > 0
    assert json.loads(ledger.path.read_text())["study"] == "s"


def test_another_configuration_is_refused_and_both_are_told(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.plan("s", ["x=1"], "b", [entry("a", 0)])
    before = ledger.path.read_bytes()
    with pytest.raises(
        UserError, match=r"a with seed 0 was begun with another .*then: x=1; now: x=2"
    ):
        ledger.plan("s", ["x=2"], "b", [entry("a", 0, "u"), entry("b", 0)])
    assert ledger.path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"{", b'{"study": 1}', b"\xff"])
def test_a_damaged_file_is_told(tmp_path: Path, content: bytes) -> None:
    ledger = Ledger(tmp_path)
    ledger.path.write_bytes(content)
    with pytest.raises(UserError, match=r"ledger.json is damaged"):
        ledger.entries()


def test_a_budget_decides_once(tmp_path: Path) -> None:
    """Epochs come from the ledger; a new timing would make others of the same minutes."""
    ledger = Ledger(tmp_path)
    ledger.plan("s", [], "study.budget.minutes=3", [entry("a", 0)])
    asked = {("a", 0): "t", ("a", 1): "u", ("b", 0): "v"}
    assert ledger.known_epochs([], asked, "study.budget.minutes=3") == {"a": 2}
    with pytest.raises(UserError, match=r"begun with study.budget.minutes=3, now it is no budget"):
        ledger.known_epochs([], asked, "no budget")
    assert ledger.known_epochs([], {("b", 0): "v"}, "no budget") == {}


def test_a_collection_forgets_what_is_no_longer_in_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.plan("s", [], "b", [entry("a", 0), entry("b", 0), entry("c", 0)])
    ledger.note(("a", 0), state="done")
    ledger.plan("s", [], "b", [entry("a", 0), entry("b", 0, "u")], replace=True)
    assert {key: e.state for key, e in ledger.entries().items()} == {
        ("a", 0): "done",
        ("b", 0): "planned",
    }
