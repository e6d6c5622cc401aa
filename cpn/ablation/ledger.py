"""What became of every run of a study: one file, shared by all processes that work on the study."""

import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
from filelock import FileLock

from cpn.errors import UserError, first_line
from cpn.files.atomic import write_atomically

State: TypeAlias = Literal["planned", "running", "done", "failed", "stopped", "cut"]
Key: TypeAlias = tuple[str, int]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One run.

    Attributes:
        variant: its name.
        seed: of the training.
        overrides: what makes the variant.
        training: id of what is trained; runs may share it.
        folder: of the training.
        use: id of all that decides the figures.
        asked: the same of the configuration as it was asked for, before a budget cut its epochs.
        timed: id under which its cost was measured.
        epochs: of the training.
        asked_epochs: before a budget cut them.
        state: `stopped` was asked to and goes on when asked to.
        attempts: how often it was begun.
        seconds: that its attempts took, training of others that share it left out.
        ap: the outcome.
        message: why it failed or was cut.
        host: where it was begun last.
        process: that began it.
        changed: when the entry was written.
    """

    variant: str
    seed: int
    overrides: list[str]
    training: str
    folder: str
    use: str
    asked: str
    timed: str
    epochs: int
    asked_epochs: int
    state: State = "planned"
    attempts: int = 0
    seconds: float = 0.0
    ap: float | None = None
    message: str = ""
    host: str = ""
    process: int = 0
    changed: str = ""

    @property
    def key(self) -> Key:
        """What tells the runs of a study apart."""
        return self.variant, self.seed


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    study: str
    given: list[str]
    budget: str
    runs: list[Entry]


class Ledger:
    """`ledger.json` of a study's folder.

    Every change reads the file, changes it and replaces it while it holds a lock, so that several
    processes, and machines with a common disk, can work on one study; a crash between two changes
    leaves the earlier one.

    Args:
        folder: of the study.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.json"
        self._lock = FileLock(folder / ".ledger.lock")

    def entries(self) -> dict[Key, Entry]:
        """All runs in the order in which they were planned.

        Raises:
            UserError: the file is damaged.
        """
        return {entry.key: entry for entry in self._read().runs}

    def known_epochs(
        self, given: Sequence[str], asked: Mapping[Key, str], budget: str
    ) -> dict[str, int]:
        """Epochs of the variants that are in the ledger: a budget decides about them once.

        Args:
            given: overrides that all runs share.
            asked: by run, the id of its configuration before a budget cuts it.
            budget: in words.

        Raises:
            UserError: a run is known with another configuration or budget.
        """
        return self._known_epochs(self._read(), given, asked, budget)

    def _known_epochs(
        self, document: _Document, given: Sequence[str], asked: Mapping[Key, str], budget: str
    ) -> dict[str, int]:
        known = [entry for entry in document.runs if entry.key in asked]
        for entry in known:
            if entry.asked != asked[entry.key]:
                raise UserError(
                    f"{self.path}: {entry.variant} with seed {entry.seed} was begun with another "
                    f"configuration; what was given then: {_shown(document.given)}; now: "
                    f"{_shown(given)}; choose another study.name=, or give what was given then"
                )
        if known and document.budget != budget:
            raise UserError(
                f"{self.path}: the study was begun with {document.budget}, now it is {budget}; "
                "choose another study.name=, or the budget of then"
            )
        return {entry.variant: entry.epochs for entry in known}

    def plan(
        self,
        study: str,
        given: Sequence[str],
        budget: str,
        entries: Iterable[Entry],
        *,
        replace: bool = False,
    ) -> None:
        """Adds runs; those that are known stay as they are.

        Args:
            study: its name.
            given: overrides that all runs share.
            budget: in words.
            entries: the runs.
            replace: forget all others.

        Raises:
            UserError: as `known_epochs`.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        wanted = {entry.key: entry for entry in entries}
        with self._changing() as document:
            if replace:
                same = [e for e in document.runs if wanted.get(e.key, e).asked == e.asked]
                document.runs = [entry for entry in same if entry.key in wanted]
            asked = {key: entry.asked for key, entry in wanted.items()}
            self._known_epochs(document, given, asked, budget)
            document.study, document.given, document.budget = study, list(given), budget
            known = {entry.key for entry in document.runs}
            document.runs += [entry for key, entry in wanted.items() if key not in known]

    def note(self, key: Key, **changes: Any) -> Entry:  # noqa: ANN401 - fields of Entry
        """Changes a run's entry.

        Args:
            key: of the run.
            changes: fields of `Entry`.

        Returns:
            The new entry.
        """
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        with self._changing() as document:
            place = next(i for i, entry in enumerate(document.runs) if entry.key == key)
            changed = msgspec.structs.replace(document.runs[place], **changes, changed=stamp)
            document.runs[place] = changed
        return changed

    def begin(self, key: Key) -> None:
        """A run, which this process has claimed, is begun."""
        attempts = self.entries()[key].attempts + 1
        here = {"host": socket.gethostname(), "process": os.getpid()}
        self.note(key, state="running", attempts=attempts, message="", **here)

    @contextmanager
    def _changing(self) -> Iterator[_Document]:
        with self._lock:
            document = self._read()
            yield document
            write_atomically(self.path, msgspec.json.format(msgspec.json.encode(document)) + b"\n")

    def _read(self) -> _Document:
        if not self.path.exists():
            return _Document("", [], "", [])
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=_Document)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UserError(
                f"{self.path} is damaged ({first_line(error)}); move it away: finished runs are "
                "found again by their files"
            ) from error


def _shown(overrides: Sequence[str]) -> str:
    return " ".join(overrides) or "nothing"
