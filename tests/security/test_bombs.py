"""S4: a small file that would become a large one is refused at once, before it is unpacked."""

import copy
import io
import json
import resource
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from safetensors.torch import save as save_tensors

from cpn.build import load_model_with_metadata
from cpn.command_line.composed import validate
from cpn.config.schema import TrainConfig
from cpn.engine.model_file import load_model_file
from cpn.engine.state_store import StateStore
from cpn.errors import UserError
from cpn.models.weights import read_weights
from cpn.skeleton import COCO_17
from tests.security.payloads import legacy
from tests.security.test_hostile_pickles import vouch

ROOT = Path(__file__).parents[2]
GIBIBYTE = 1 << 30
UNPACKED = 2 * GIBIBYTE - (1 << 20)  # what fits into a plain zip header
BLOCK = 1 << 24


def _saved(**values: object) -> bytes:
    whole = io.BytesIO()
    torch.save(values, whole)
    return whole.getvalue()


def _deflated_zeros() -> bytes:
    """Blocks that stand alone, so that one of them can be repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * (UNPACKED // BLOCK) + packer.flush(zlib.Z_FINISH)


def _claiming(content: bytes, size: int, *, method: int) -> bytes:
    """The same archive, but its storage says to have `size` bytes, packed by `method`."""
    whole = bytearray(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entry = next(each for each in archive.infolist() if each.filename.endswith("data/0"))
        central = whole.index(entry.filename.encode(), archive.start_dir) - 46
    struct.pack_into("<H", whole, central + 10, method)
    struct.pack_into("<I", whole, central + 24, size)
    struct.pack_into("<H", whole, entry.header_offset + 8, method)
    struct.pack_into("<I", whole, entry.header_offset + 22, size)
    return bytes(whole)


def _with_storage(content: bytes, storage: bytes) -> bytes:
    """A torch archive with other bytes in its first storage."""
    whole = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(whole, "w") as new,
    ):
        for entry in old.infolist():
            body = storage if entry.filename.endswith("data/0") else old.read(entry)
            new.writestr(entry.filename, body)
    return whole.getvalue()


def _large_pickle() -> bytes:
    """The pickle of a tensor of almost two gigabytes."""
    small = _saved(weight=torch.zeros(7, dtype=torch.uint8))
    with zipfile.ZipFile(io.BytesIO(small)) as archive:
        name = next(each for each in archive.namelist() if each.endswith("data.pkl"))
        text = archive.read(name)
    return text.replace(b"K\x07", b"J" + struct.pack("<i", UNPACKED))


def _deflated() -> bytes:
    small = _saved(weight=torch.zeros(7, dtype=torch.uint8))
    packed = _with_storage(small, _deflated_zeros())
    whole = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(packed)) as old, zipfile.ZipFile(whole, "w") as new:
        for entry in old.infolist():
            is_pickle = entry.filename.endswith("data.pkl")
            new.writestr(entry.filename, _large_pickle() if is_pickle else old.read(entry))
    return _claiming(whole.getvalue(), UNPACKED, method=zipfile.ZIP_DEFLATED)


def _overlapping() -> bytes:
    return _claiming(_saved(weight=torch.zeros(7)), UNPACKED, method=zipfile.ZIP_STORED)


def _legacy_storage() -> bytes:
    """A plain pickle whose storage says to have a hundred gigabytes, none of which follow."""
    whole = io.BytesIO()
    torch.save({"weight": torch.zeros(7)}, whole, _use_new_zipfile_serialization=False)
    many = b"\x8a\x05" + (25 * GIBIBYTE).to_bytes(5, "little")
    return whole.getvalue().replace(b"K\x07", many)


def _long_array() -> bytes:
    """A call that weights_only allows: a bytearray of a hundred gigabytes."""
    size = b"\x8a\x05" + (100 * GIBIBYTE).to_bytes(5, "little")
    return legacy(b"\x80\x02c__builtin__\nbytearray\n" + size + b"\x85R.")


def _behind_another_end() -> bytes:
    """Two tables of contents: a harmless one for Python's zipfile, the bomb for torch."""
    return _deflated() + b"PK\x05\x06" + bytes(18) + b"x"


BOMBS: dict[str, Callable[[], bytes]] = {
    "deflated": _deflated,
    "claims too much": _overlapping,
    "legacy storage": _legacy_storage,
    "bytearray": _long_array,
    "two ends": _behind_another_end,
    "cut archive": lambda: _saved(weight=torch.zeros(1000))[:-30],
    "deep pickle": lambda: legacy(b"\x80\x02" + b"(" * 100_000 + b"."),
}


def _refused(read: Callable[[], object]) -> str:
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(UserError) as refused:
        read()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert time.monotonic() - began < 2
    assert grown < 500_000, f"{grown} kB"
    return str(refused.value)


@pytest.mark.parametrize("name", ["two ends", "cut archive"])
def test_an_archive_ends_where_the_file_does(name: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(BOMBS[name]())
    assert "(its archive has no end or more behind it)" in _refused(lambda: read_weights(path))


@pytest.fixture(params=BOMBS)
def bomb(request: pytest.FixtureRequest) -> bytes:
    return BOMBS[request.param]()


def test_a_bomb_as_state_or_weights(bomb: bytes, tmp_path: Path) -> None:
    assert len(bomb) < 1 << 23
    store = StateStore(tmp_path / "checkpoints")
    path = vouch(store, bomb)
    assert str(path) in _refused(store.load_newest)
    path = tmp_path / "weights.pth"
    path.write_bytes(bomb)
    assert str(path) in _refused(lambda: read_weights(path))


def _header(length: int, text: bytes) -> bytes:
    return length.to_bytes(8, "little") + text


HEADERS = {
    "huge header": _header(2**63 - 1, b"{}"),
    "header of 200 MB": _header(200_000_000, b"{" + b" " * 1000),
    "header beyond the file": _header(99_000_000, b"{}"),
    "huge tensor": _header(
        76, b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}  '
    ),
    "hole": save_tensors({"a": torch.zeros(3)}) + bytes(1000),
    "deep metadata": _header(100_022, b'{"__metadata__":{"a":"' + b"[" * 100_000),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_hostile_safetensors_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(HEADERS[name])
    assert str(path) in _refused(lambda: load_model_file(path))
    assert str(path) in _refused(lambda: read_weights(path))


def test_metadata_that_is_no_json_or_too_deep(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for text in ("", "{", "NaN!", "[" * 100_000):
        metadata = {"format": "cpn-model", "format_version": "1", "config": text}
        path.write_bytes(save_tensors({"a": torch.zeros(1)}, metadata))
        assert "model.safetensors has a damaged header" in _refused(lambda: load_model_file(path))


def _model_file(path: Path, config: dict[str, Any]) -> Path:
    """A few kilobytes: all that is described, and a single weight."""
    known = {"format": "cpn-model", "format_version": "1", "metrics": "{}"}
    header = {"config": json.dumps(config), "skeleton": json.dumps(COCO_17.to_dict())}
    path.write_bytes(save_tensors({"a": torch.zeros(1)}, known | header))
    return path


@pytest.fixture(scope="module")
def ordinary() -> dict[str, Any]:
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        composed = compose("train", overrides=["data=custom", "backbone.weights=none"])
        for key in ("train", "val"):
            composed.data[key].annotations = composed.data[key].images = "x"
    return validate(composed, TrainConfig).model_dump(mode="json")


@pytest.mark.parametrize(
    ("group", "key", "value", "allowed"),
    [
        ("pyramid", "channels", 10**9, "an integer >= 1 and <= 4096"),
        ("refine.bottlenecks", "p2", 10**9, "an integer >= 0 and <= 16"),
        ("decode", "blur_kernel", 10**9 + 1, "an integer >= 0 and <= 1023"),
    ],
)
def test_a_model_file_that_describes_no_network(
    ordinary: dict[str, Any], tmp_path: Path, group: str, key: str, value: int, allowed: str
) -> None:
    config = copy.deepcopy(ordinary)
    place = config if group == "decode" else config["model"]
    for name in group.split("."):
        place = place[name]
    place[key] = value
    path = _model_file(tmp_path / "model.safetensors", config)
    message = _refused(lambda: load_model_with_metadata(path))
    assert f"{group}.{key}: got {value}, allowed: {allowed}" in message
    assert "\n" not in message


def test_a_model_file_that_describes_20_gigabytes_of_weights(
    ordinary: dict[str, Any], tmp_path: Path
) -> None:
    """Everything is within its range, but they are not there."""
    config = copy.deepcopy(ordinary)
    config["model"]["pyramid"]["channels"] = 4096
    config["model"]["refine"]["bottlenecks"] = {f"p{level}": 16 for level in range(2, 8)}
    path = _model_file(tmp_path / "model.safetensors", config)
    message = _refused(lambda: load_model_with_metadata(path))
    assert "model.safetensors do not fit the model; missing: pixel_mean, " in message


def test_an_ordinary_file_is_no_bomb(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(_saved(weight=torch.zeros(1 << 20)))
    assert read_weights(path)["weight"].shape == (1 << 20,)
    torch.save({"weight": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    assert read_weights(path)["weight"].tolist() == [1, 1, 1]
