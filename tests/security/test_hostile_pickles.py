"""S1: a file that would run code when it is unpickled is refused by name, and nothing runs."""

import hashlib
import json
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from cpn.engine.state_store import StateStore
from cpn.errors import UserError
from cpn.models.backbone import create_backbone
from cpn.models.pytorch_cpn import read_pytorch_cpn
from tests.security.payloads import PICKLES, WRAPPINGS


def vouch(store: StateStore, content: bytes) -> Path:
    """Makes a file the only training state, with a manifest that agrees with it."""
    path = store.path(7)
    store.folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    entry = {"file": path.name, "step": 7, "bytes": len(content)}
    entry["sha256"] = hashlib.sha256(content).hexdigest()
    store.manifest.write_text(json.dumps({"version": 1, "states": [entry]}))
    return path


def _as_state(folder: Path, content: bytes) -> str:
    store = StateStore(folder)
    path = vouch(store, content)
    with pytest.raises(UserError) as refused:
        store.load_newest()
    assert str(path) in str(refused.value)
    return str(refused.value)


def _as_backbone(folder: Path, content: bytes) -> str:
    path = folder / "resnet18.pth"
    path.write_bytes(content)
    with pytest.raises(UserError) as refused:
        create_backbone("resnet18", weights=str(path), levels=(2,))
    assert str(path) in str(refused.value)
    return str(refused.value)


def _as_import(folder: Path, content: bytes) -> str:
    path = folder / "CPN50.pth.tar"
    path.write_bytes(content)
    with pytest.raises(UserError) as refused:
        read_pytorch_cpn(path)
    assert str(path) in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("name", PICKLES)
def test_the_payload_is_one(name: str, tmp_path: Path) -> None:
    """Else the tests below could not fail."""
    marker = tmp_path / "ran"
    with suppress(pickle.UnpicklingError, AttributeError, TypeError, RuntimeError):
        pickle.loads(PICKLES[name](marker))
    assert marker.exists()


@pytest.mark.parametrize("read", [_as_state, _as_backbone, _as_import])
@pytest.mark.parametrize("name", PICKLES)
def test_nothing_runs_and_the_file_is_named(
    name: str, read: Callable[[Path, bytes], str], tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    for wrap in WRAPPINGS.values():
        message = read(tmp_path, wrap(PICKLES[name](marker)))
        assert "\n" not in message
    assert not marker.exists()


def test_many_payloads_are_tried() -> None:
    assert len(PICKLES) >= 20
