import hashlib
import json
import logging
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cpn.engine.state_store import DamagedStateError, StateFile, StateStore
from cpn.errors import UserError


@pytest.fixture
def store(tmp_path: Path) -> StateStore:
    return StateStore(tmp_path / "checkpoints")


def _saved(folder: Path, *steps: int) -> StateStore:
    store = StateStore(folder)
    for step in steps:
        store.save(step, {"step": step, "weights": torch.full((10,), float(step))})
    return store


def _newest_step(store: StateStore) -> int:
    found = store.load_newest()
    assert found is not None
    return int(found[1]["step"])


def _rewrite_manifest(store: StateStore, **changes: Any) -> None:
    document = json.loads(store.manifest.read_bytes())
    store.manifest.write_text(json.dumps(document | changes))


def test_round_trip(store: StateStore) -> None:
    assert store.load_newest() is None
    assert store.states() == []
    state = {
        "tensor": torch.tensor([1.0, -0.0, float("nan")]),
        "nested": [1, (2.5, None, "a"), {"k": True, 3: float("-inf")}],
        "module": OrderedDict(a=torch.ones(2, dtype=torch.bfloat16)),
    }
    path = store.save(1, state)
    found = store.load_newest()
    assert found is not None
    assert found[0] == path == store.folder / "step_00000001.ckpt"
    loaded = found[1]
    assert loaded["nested"] == state["nested"]
    expected = np.array([1, -0.0, np.nan], np.float32)
    assert loaded["tensor"].numpy().tobytes() == expected.tobytes()
    assert loaded["module"]["a"].dtype == torch.bfloat16


def test_only_the_newest_two_stay(store: StateStore) -> None:
    store.folder.mkdir()
    (store.folder / ".step_00000001.ckpt.77.tmp").write_bytes(b"a crash left this")
    (store.folder / "step_00000005.ckpt").write_bytes(b"and this")
    (store.folder / "step_best.txt").write_bytes(b"not ours")
    store.manifest.write_text('{"version": 1, "states": []}')
    for step in (9, 10, 99_999_999, 100_000_000):
        store.save(step, {})
    kept = ["step_99999999.ckpt", "step_100000000.ckpt"]
    assert [each.file for each in store.states()] == kept
    assert {path.name for path in store.folder.iterdir()} == {
        *(*kept, "manifest.json", "step_best.txt"),
    }


def test_the_same_step_again_replaces_it(store: StateStore) -> None:
    for value in (1, 2):
        store.save(7, {"step": value})
    assert _newest_step(store) == 2
    assert len(store.states()) == 1


@pytest.mark.parametrize(
    ("value", "kind"), [(np.float64(1), "float64"), (Path("a"), "PosixPath"), ({1}, "set")]
)
def test_values_that_need_pickle_are_named(store: StateStore, value: object, kind: str) -> None:
    with pytest.raises(TypeError, match=rf"state\.a\[0\]\.b is a {kind}, which a checkpoint may"):
        store.save(1, {"a": [{"b": value}]})
    assert store.states() == []


def _damage(path: Path, kind: str, offset: float) -> None:
    content = bytearray(path.read_bytes())
    place = int(offset * (len(content) - 1))
    match kind:
        case "cut":
            content = content[:place]
        case "bit":
            content[place] ^= 1 << (place % 8)
        case "zero tail":
            content[place:] = bytes(len(content) - place)
            content[-1] = 1  # zip archives end with zeros
        case "longer":
            content += b"\0"
        case "missing":
            path.unlink()
            return
    path.write_bytes(content)


KINDS = ("cut", "bit", "zero tail", "longer", "missing")


@given(st.sampled_from(KINDS), st.floats(0, 1))
def test_any_damage_is_found_and_the_one_before_taken(
    tmp_path_factory: pytest.TempPathFactory, kind: str, offset: float
) -> None:
    store = _saved(tmp_path_factory.mktemp("states"), 1, 2)
    _damage(store.folder / "step_00000002.ckpt", kind, offset)
    with pytest.raises(DamagedStateError, match=r"step_00000002.ckpt (is|has) "):
        store.load(store.states()[-1])
    assert _newest_step(store) == 1


def test_the_fall_back_names_both(store: StateStore, caplog: pytest.LogCaptureFixture) -> None:
    _saved(store.folder, 1, 2)
    _damage(store.folder / "step_00000002.ckpt", "bit", 0.5)
    with caplog.at_level(logging.WARNING):
        assert _newest_step(store) == 1
    assert "step_00000002.ckpt is damaged (its SHA-256 differs); resuming from" in caplog.text
    assert "step_00000001.ckpt instead" in caplog.text


def test_all_damaged_is_an_error(store: StateStore) -> None:
    _saved(store.folder, 1, 2)
    _damage(store.folder / "step_00000001.ckpt", "missing", 0)
    _damage(store.folder / "step_00000002.ckpt", "cut", 0)
    with pytest.raises(
        UserError,
        match=r"no training state can be read: .*step_00000002.ckpt has 0 bytes instead of \d+; "
        r".*step_00000001.ckpt is missing; restore one, or start anew with run.if_exists=overwrite",
    ):
        store.load_newest()


def test_states_without_their_manifest_are_an_error(store: StateStore) -> None:
    _saved(store.folder, 1)
    store.manifest.unlink()
    with pytest.raises(UserError, match=r"manifest.json is missing, so none of the training stat"):
        store.load_newest()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 1, "states": [{"file": "x"}]}'])
def test_a_damaged_manifest_is_an_error(store: StateStore, content: str) -> None:
    _saved(store.folder, 1)
    store.manifest.write_text(content)
    with pytest.raises(UserError, match=r"manifest.json is damaged \(.+\); restore it, or start"):
        store.load_newest()


@pytest.mark.parametrize("file", ["../other/step_00000001.ckpt", "/etc/passwd", "x.ckpt"])
def test_a_manifest_names_no_file_of_elsewhere(store: StateStore, file: str) -> None:
    _saved(store.folder, 1)
    (entry,) = json.loads(store.manifest.read_bytes())["states"]
    _rewrite_manifest(store, states=[entry | {"file": file}])
    with pytest.raises(UserError, match=rf"manifest.json is damaged \(step 1 is not in '{file}'\)"):
        store.load_newest()


@pytest.mark.parametrize("step", ["1", None, -1, 1.5, 2**70])
def test_a_manifest_with_values_of_another_kind(store: StateStore, step: object) -> None:
    _saved(store.folder, 1)
    (entry,) = json.loads(store.manifest.read_bytes())["states"]
    _rewrite_manifest(store, states=[entry, entry | {"step": step}])
    with pytest.raises(UserError, match=r"manifest.json is damaged \(.+\); restore it, or start"):
        store.load_newest()


def test_a_damaged_state_of_an_abandoned_future_takes_no_place(store: StateStore) -> None:
    _saved(store.folder, 1, 9)
    _damage(store.folder / "step_00000009.ckpt", "cut", 0.5)
    assert _newest_step(store) == 1
    for step in (2, 3):
        store.save(step, {"step": step})
        assert [each.step for each in store.states()] == [step - 1, step]


def test_another_version_of_the_manifest(store: StateStore) -> None:
    _saved(store.folder, 1)
    _rewrite_manifest(store, version=9)
    with pytest.raises(UserError, match=r"manifest.json is damaged \(version 9\)"):
        store.load_newest()


def test_a_writer_that_died_between_state_and_manifest(store: StateStore) -> None:
    _saved(store.folder, 1)
    (store.folder / "step_00000002.ckpt").write_bytes(b"whole, but nobody vouches for it")
    assert _newest_step(store) == 1
    store.save(3, {"step": 3})
    assert not (store.folder / "step_00000002.ckpt").exists()


def test_a_state_that_is_not_what_was_written_is_not_listed(
    store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _saved(store.folder, 1)

    def half(path: Path, content: bytes) -> None:
        path.write_bytes(content[: len(content) // 2])

    monkeypatch.setattr(store, "_write", half)
    with pytest.raises(DamagedStateError, match=r"step_00000002.ckpt has \d+ bytes instead of"):
        store.save(2, {"step": 2})
    assert _newest_step(store) == 1


def test_a_full_disk_leaves_what_was_there(
    store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _saved(store.folder, 1)

    def full(_path: Path, _content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cpn.engine.room.write_atomically", full)
    with pytest.raises(
        UserError,
        match=r"step_00000002.ckpt: the training state cannot be written: No space left on device; "
        r"it needs \d+ bytes, \d+ are free; earlier states are as they were",
    ):
        store.save(2, {"step": 2})
    assert _newest_step(store) == 1


def _vouched(store: StateStore, content: object) -> StateFile:
    """A file that the manifest vouches for, whatever it holds."""
    store.save(1, {})
    path = store.folder / "step_00000001.ckpt"
    torch.save(content, path)
    (entry,) = store.states()
    whole = path.read_bytes()

    return StateFile(entry.file, entry.step, len(whole), hashlib.sha256(whole).hexdigest())


def test_pickled_code_is_not_run(store: StateStore, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "owned"),)

    entry = _vouched(store, {"format": "cpn-training-state", "x": Payload()})
    with pytest.raises(DamagedStateError, match=r"step_00000001.ckpt: not a plain PyTorch file"):
        store.load(entry)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [[1], {"state_dict": {}}])
def test_foreign_state_is_refused(store: StateStore, content: object) -> None:
    entry = _vouched(store, content)
    with pytest.raises(UserError, match=r"step_00000001.ckpt is not a training state of this proj"):
        store.load(entry)


def test_state_of_another_version_is_refused(store: StateStore) -> None:
    entry = _vouched(store, {"format": "cpn-training-state", "format_version": "1"})
    with pytest.raises(UserError, match=r"_00000001.ckpt has training .* version 1, .* reads 2;"):
        store.load(entry)
