"""Training states on disk: a new one is whole and checked before an old one goes.

    checkpoints/manifest.json            size and SHA-256 of every state that exists
    checkpoints/step_00001200.ckpt       the states themselves, the newest two

A state that the manifest does not list does not exist: its writer died. One that does not agree
with it is damaged. Nothing here unpickles code: states are read with `weights_only=True`.
"""

import hashlib
import io
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from torch import Tensor, nn

from cpn.engine.failpoints import failpoint
from cpn.engine.room import write_if_there_is_room
from cpn.errors import UserError
from cpn.version import __version__
from cpn.weights.torch_file import parse_torch_file

logger = logging.getLogger(__name__)

STATE_FORMAT = "cpn-training-state"
STATE_VERSION = "2"
MANIFEST_NAME = "manifest.json"
MANIFEST_VERSION = 1

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


@dataclass(frozen=True)
class StateFile:
    """A state as the manifest lists it."""

    file: str
    step: Count
    bytes: Count
    sha256: str


class _Manifest(msgspec.Struct, frozen=True):
    version: int
    states: list[StateFile]


class DamagedStateError(UserError):
    """A training state that cannot be what was written."""


class StateStore:
    """The training states of one run, the newest `keep` of them.

    Args:
        folder: Where they lie; made when first written to.
        keep: How many stay, at least 2: one is whole while another is written.
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        assert keep >= 2
        self.folder = folder
        self.keep = keep

    @property
    def manifest(self) -> Path:
        """The list of states."""
        return self.folder / MANIFEST_NAME

    def path(self, step: int) -> Path:
        """Where the state after a step lies, or would."""
        return self.folder / f"step_{step:08d}.ckpt"

    def save(self, step: int, state: Mapping[str, Any]) -> Path:
        """Write the state after `step` optimizer steps, read it back, then delete the oldest.

        Raises:
            TypeError: A value is not one that `weights_only=True` can load.
            UserError: The disk is full or cannot be written; earlier states are as they were.
            DamagedStateError: What was read back differs; earlier states are as they were.
        """
        content = {
            "format": STATE_FORMAT,
            "format_version": STATE_VERSION,
            "cpn_version": __version__,
            **state,
        }
        _require_plain(content, "state")
        buffer = io.BytesIO()
        torch.save(content, buffer)
        whole = buffer.getvalue()
        if not self.manifest.exists():
            self._write_manifest([])  # from now on a folder without one is damaged
        path = self.path(step)
        entry = StateFile(path.name, step, len(whole), hashlib.sha256(whole).hexdigest())
        failpoint("before_state")
        self._write(path, whole)
        failpoint("after_state")
        self._verified(entry)
        known = [each for each in self.states() if each.step < step]
        kept = sorted([*known, entry], key=lambda each: each.step)[-self.keep :]
        self._write_manifest(kept)
        failpoint("after_manifest")
        self._delete_all_but(kept)
        return path

    def states(self) -> list[StateFile]:
        """What the manifest lists, oldest first; nothing in a fresh run.

        Raises:
            UserError: The manifest is missing or damaged.
        """
        if not self.manifest.exists():
            if any(self.folder.glob("step_*.ckpt")):
                raise UserError(
                    f"{self.manifest} is missing, so none of the training states beside it can be "
                    "trusted; restore it, or start anew with run.if_exists=overwrite"
                )
            return []
        try:
            return self._listed(self.manifest.read_bytes())
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            raise UserError(
                f"{self.manifest} is damaged ({error}); restore it, or start anew with "
                "run.if_exists=overwrite"
            ) from error

    def _listed(self, manifest: bytes) -> list[StateFile]:
        document = msgspec.json.decode(manifest, type=_Manifest)
        if document.version != MANIFEST_VERSION:
            raise ValueError(f"version {document.version}")
        for each in document.states:
            if each.file != self.path(each.step).name:  # perhaps one outside of the folder
                raise ValueError(f"step {each.step} is not in {each.file!r}")
        return sorted(document.states, key=lambda each: each.step)

    def load_newest(self) -> tuple[Path, dict[str, Any]] | None:
        """The newest whole state with its file, None in a fresh run; warns of damaged ones.

        Raises:
            UserError: All states are damaged, or the manifest is: nothing starts from zero unasked.
        """
        damaged: list[str] = []
        for entry in reversed(self.states()):
            path = self.folder / entry.file
            try:
                state = self.load(entry)
            except DamagedStateError as error:
                damaged.append(str(error))
                continue
            for reason in damaged:
                logger.warning("%s; resuming from %s instead", reason, path)
            return path, state
        if damaged:
            raise UserError(
                f"no training state can be read: {'; '.join(damaged)}; restore one, or start anew "
                "with run.if_exists=overwrite"
            )
        return None

    def load(self, entry: StateFile) -> dict[str, Any]:
        """Read a training state, tensors on the CPU.

        Raises:
            DamagedStateError: It is not what was written.
            UserError: It is no training state of this project, or one of another version.
        """
        path = self.folder / entry.file
        content = self._verified(entry)
        try:
            state = parse_torch_file(content, source=path)
        except UserError as error:
            raise DamagedStateError(str(error)) from error
        if not isinstance(state, dict) or state.get("format") != STATE_FORMAT:
            raise UserError(f"{path} is not a training state of this project")
        if state.get("format_version") != STATE_VERSION:
            raise UserError(
                f"{path} has training state format version {state.get('format_version')}, this "
                f"program reads {STATE_VERSION}; resume with the version of cpn that wrote it:"
                f" {state.get('cpn_version', 'an early one')}"
            )
        return state

    def _verified(self, entry: StateFile) -> bytes:
        """The content of a state, compared with the manifest."""
        path = self.folder / entry.file
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise DamagedStateError(f"{path} is missing") from error
        if len(content) != entry.bytes:
            raise DamagedStateError(f"{path} has {len(content)} bytes instead of {entry.bytes}")
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            raise DamagedStateError(f"{path} is damaged (its SHA-256 differs)")
        return content

    def _write(self, path: Path, content: bytes) -> None:
        write_if_there_is_room(
            path,
            content,
            what="the training state",
            way_out="earlier states are as they were, so make room and resume",
        )

    def _write_manifest(self, states: list[StateFile]) -> None:
        document = {"version": MANIFEST_VERSION, "states": [asdict(each) for each in states]}
        write_if_there_is_room(
            self.manifest,
            json.dumps(document).encode(),
            what="the list of training states",
            way_out="earlier states are as they were, so make room and resume",
        )

    def _delete_all_but(self, kept: list[StateFile]) -> None:
        names = {each.file for each in kept}
        leftovers = [path for path in self.folder.glob("step_*.ckpt") if path.name not in names]
        for path in [*leftovers, *self.folder.glob(".*.tmp")]:
            path.unlink()
            failpoint("during_delete")


def _require_plain(value: object, name: str) -> None:
    """Refuse what `weights_only=True` would refuse, while its name is still known."""
    if isinstance(value, dict):
        for key, item in value.items():
            _require_plain(item, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _require_plain(item, f"{name}[{index}]")
    elif type(value) not in (Tensor, nn.Parameter, str, int, float, bool, type(None)):
        raise TypeError(f"{name} is a {type(value).__name__}, which a checkpoint may not hold")
