"""H7: whatever happens to the states, the newest whole one loads, and none is of the future."""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cpn.engine import state_store
from cpn.engine.state_store import DamagedStateError, StateStore
from cpn.errors import UserError

PLACES = ("before_state", "after_state", "after_manifest", "during_delete")


class Killed(BaseException):
    """The process is gone: nothing of it runs on."""


def killing(place: str, after: int = 0) -> Callable[[str], None]:
    """A failpoint that kills at the `after`-th time that it comes to a place."""
    left = [after]

    def failpoint(name: str) -> None:
        if name == place:
            left[0] -= 1
            if left[0] < 0:
                raise Killed

    return failpoint


class States(RuleBasedStateMachine):
    """A run that saves, is killed, has its files damaged and goes on."""

    @initialize(keep=st.integers(2, 3))
    def begin(self, keep: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="states-"))
        self.keep = keep
        self.step = 0
        self.saved: dict[int, bytes] = {}  # what was written, by step
        self.unnoticed = False  # a state was damaged since the run was started

    @property
    def store(self) -> StateStore:
        return StateStore(self.folder, keep=self.keep)

    def _save(self, more: int) -> None:
        self.step += more
        weights = torch.full((20,), float(self.step))
        path = self.store.path(self.step)
        try:
            self.store.save(self.step, {"step": self.step, "weights": weights})
        finally:
            if path.exists():
                self.saved[self.step] = path.read_bytes()

    @rule(more=st.integers(1, 3))
    def save(self, more: int) -> None:
        before = len(self._whole())
        self._save(more)
        if not self.unnoticed:
            assert len(self._whole()) == min(self.keep, before + 1)
        assert not list(self.folder.glob(".*.tmp"))
        assert len(list(self.folder.glob("step_*.ckpt"))) <= self.keep

    @rule(place=st.sampled_from(PLACES), after=st.integers(0, 1), more=st.integers(1, 3))
    def save_and_be_killed(self, place: str, after: int, more: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(state_store, "failpoint", killing(place, after))
            with suppress(Killed):
                self._save(more)

    @rule(share=st.floats(0, 1))
    def be_killed_while_writing(self, share: float) -> None:
        """What another writer than ours would leave: part of a file without a name of ours."""
        self.folder.joinpath(".step_00000099.ckpt.1.tmp").write_bytes(bytes(int(share * 100)))

    @precondition(lambda self: len(self._whole()) > 1)
    @rule(kind=st.sampled_from(["cut", "bit", "missing", "longer"]), share=st.floats(0, 0.999))
    def damage_the_newest(self, kind: str, share: float) -> None:
        step = max(self._whole())
        path, content = self.store.path(step), bytearray(self.saved[step])
        place = int(share * len(content))
        if kind == "missing":
            path.unlink()
        else:
            if kind == "bit":
                content[place] ^= 1
            changed = {"cut": content[:place], "bit": content, "longer": content + b"\0"}[kind]
            path.write_bytes(changed)
        self.unnoticed = True

    @rule()
    def resume(self) -> None:
        """Training goes on from what was found."""
        self.step = self._loaded_step()
        self.unnoticed = False

    def _whole(self) -> list[int]:
        """Steps that the manifest lists and whose files are what was written."""
        return [
            each.step
            for each in self.store.states()
            if self.store.path(each.step).exists()
            and self.store.path(each.step).read_bytes() == self.saved.get(each.step)
        ]

    def _loaded_step(self) -> int:
        found = self.store.load_newest()
        return 0 if found is None else int(found[1]["step"])

    @invariant()
    def the_newest_whole_state_loads(self) -> None:
        whole = self._whole()
        if not self.store.states():
            assert self.store.load_newest() is None
            return
        assert whole, "one is always left"
        found = self.store.load_newest()
        assert found is not None
        path, state = found
        assert int(state["step"]) == max(whole) <= self.step
        assert path == self.store.path(max(whole))
        assert state["weights"].tolist() == [float(max(whole))] * 20
        for each in self.store.states():
            if each.step not in whole:
                with pytest.raises(DamagedStateError):
                    self.store.load(each)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


TestStates = States.TestCase
TestStates.settings = settings(max_examples=25, stateful_step_count=15, phases=[Phase.generate])


def test_a_killed_first_save_is_no_silent_restart(tmp_path: Path) -> None:
    """Before its first state a run has nothing; after a lost manifest it says so."""
    store = StateStore(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state_store, "failpoint", killing("after_state"))
        with pytest.raises(Killed):
            store.save(1, {"step": 1})
    assert store.load_newest() is None
    store.manifest.unlink()
    with pytest.raises(UserError, match=r"manifest\.json is missing, so none"):
        store.load_newest()
