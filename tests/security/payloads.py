"""Pickles that would run code, each making one marker file, in every wrapping that torch reads."""

import io
import os
import pickle
import runpy
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch._tensor import _rebuild_from_type_v2


class Call:
    """Unpickles to what `function(*arguments)` gives."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.reduced


def _touch(marker: Path) -> str:
    return f"touch '{marker}'"


def _python(marker: Path) -> str:
    return f"open({str(marker)!r}, 'w').close()"


def _script(marker: Path) -> str:
    path = marker.with_name("hubconf.py")
    path.write_text(_python(marker))
    return str(path)


def _inner(marker: Path) -> str:
    path = marker.with_name("inner.pt")
    path.write_bytes(pickle.dumps(Call(os.system, _touch(marker))))
    return str(path)


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def _getattr_chain(marker: Path) -> bytes:
    """getattr(__import__("os"), "system")(command)."""
    imported = b"cbuiltins\n__import__\n" + _text("os") + b"\x85R"
    function = b"cbuiltins\ngetattr\n" + imported + _text("system") + b"\x86R"
    return b"\x80\x02" + function + _text(_touch(marker)) + b"\x85R."


def _stack_global(marker: Path) -> bytes:
    """Protocol 4 takes a function's name from the stack."""
    return b"\x80\x04" + _text("os") + _text("system") + b"\x93" + _text(_touch(marker)) + b"\x85R."


def _build(marker: Path) -> bytes:
    """A class that torch allows gets a `__setstate__` of its own, and then a state."""
    replaced = b"}" + _text("__setstate__") + b"cos\nsystem\nsb"
    made = b"\x80\x02ccollections\nOrderedDict\n)R"
    return made + replaced + _text(_touch(marker)) + b"b."


def _persistent(marker: Path) -> bytes:
    """A storage whose type is what a call gives."""
    call = b"cos\nsystem\n" + _text(_touch(marker)) + b"\x85R"
    return b"\x80\x02(" + _text("storage") + call + _text("0") + _text("cpu") + b"K\x01tQ."


def _dumped(make: Callable[[Path], object], protocol: int = 2) -> Callable[[Path], bytes]:
    return lambda marker: pickle.dumps({"weight": make(marker)}, protocol)


def _system(marker: Path) -> Call:
    return Call(os.system, _touch(marker))


PICKLES: dict[str, Callable[[Path], bytes]] = {
    **{f"os.system, protocol {number}": _dumped(_system, number) for number in range(6)},
    "eval": _dumped(lambda marker: Call(eval, _python(marker))),
    "exec": _dumped(lambda marker: Call(exec, _python(marker))),
    "open": _dumped(lambda marker: Call(os.open, str(marker), os.O_CREAT)),
    "touch": _dumped(lambda marker: Call(Path.touch, marker)),
    "subprocess": _dumped(lambda marker: Call(subprocess.check_call, ["touch", str(marker)])),
    "runpy": _dumped(lambda marker: Call(runpy.run_path, _script(marker))),
    "torch.hub": _dumped(
        lambda marker: Call(
            partial(torch.hub.load, source="local"), str(Path(_script(marker)).parent), "x"
        )
    ),
    "torch.load": _dumped(
        lambda marker: Call(partial(torch.load, weights_only=False), _inner(marker))
    ),
    "rebuild": _dumped(
        lambda marker: Call(_rebuild_from_type_v2, os.system, dict, (_touch(marker),), {})
    ),
    "nested": _dumped(lambda marker: Call(list, Call(map, os.system, [_touch(marker)]))),
    "in a key": lambda marker: pickle.dumps({Call(os.system, _touch(marker)): 1}, 2),
    "getattr chain": _getattr_chain,
    "stack global": _stack_global,
    "instance": lambda marker: b"(" + b"S" + repr(_touch(marker)).encode() + b"\nios\nsystem\n.",
    "build": _build,
    "persistent id": _persistent,
}


def _archive(content: bytes, *, name: str = "data.pkl") -> bytes:
    """A torch archive with another pickle in it."""
    ours, theirs = io.BytesIO(), io.BytesIO()
    torch.save({"weight": torch.zeros(1)}, ours)
    with zipfile.ZipFile(ours) as old, zipfile.ZipFile(theirs, "w") as new:
        for entry in old.infolist():
            is_pickle = entry.filename.endswith("data.pkl")
            where = entry.filename.replace("data.pkl", name)
            new.writestr(where, content if is_pickle else old.read(entry))
    return theirs.getvalue()


def legacy(content: bytes) -> bytes:
    """As torch wrote before its version 1.6: five pickles in a row."""
    ours = io.BytesIO()
    torch.save({}, ours, _use_new_zipfile_serialization=False)
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    before = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, system)]
    return b"".join([*before, content, pickle.dumps([], 2)])


def _tar(content: bytes) -> bytes:
    """As torch wrote before its version 0.2."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for name in ("storages", "tensors", "pickle"):
            entry = tarfile.TarInfo(name)
            body = content if name == "pickle" else pickle.dumps(0, 2)
            entry.size = len(body)
            tar.addfile(entry, io.BytesIO(body))
    return whole.getvalue()


WRAPPINGS: dict[str, Callable[[bytes], bytes]] = {
    "bare": lambda content: content,
    "archive": _archive,
    "TorchScript": lambda content: _archive(content, name="constants.pkl"),
    "legacy": legacy,
    "tar": _tar,
    "pickle before archive": lambda content: content + _archive(pickle.dumps({}, 2)),
    "archive before pickle": lambda content: _archive(pickle.dumps({}, 2)) + content,
}
