"""Disks of a test's own: full or read-only ones that no other process sees.

To be called in a forked process (see forked.py) of the superuser on Linux: what is mounted is gone
when it ends.
"""

import ctypes
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

CLONE_NEWNS = 0x00020000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18


@cache
def why_not() -> str:
    """Why there can be no mounts here; empty if there can."""
    if not sys.platform.startswith("linux"):
        return "mount namespaces are Linux's"
    if os.geteuid() != 0:
        return "mounting needs root"
    tried = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"],
        check=False,
        capture_output=True,
        text=True,
    )
    return f"no mounts here: {tried.stderr.strip()}" if tried.returncode else ""


def small_disk(folder: Path, num_bytes: int) -> None:
    """Puts an empty file system of that size at `folder`, for this process and its children."""
    folder.mkdir(parents=True, exist_ok=True)
    _leave_the_others()
    _mount("tmpfs", folder, "tmpfs", 0, f"size={num_bytes}")


def read_only(folder: Path) -> None:
    """Makes `folder` read-only, for the superuser too."""
    _leave_the_others()
    _mount(str(folder), folder, "", MS_BIND, "")
    _mount(str(folder), folder, "", MS_BIND | MS_REMOUNT | MS_RDONLY, "")


def fill(folder: Path, *, but: int) -> None:
    """Takes all room of a disk but about so many bytes (whole pages)."""
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize
    (folder / "ballast").write_bytes(bytes(max(0, free - but)))


def _leave_the_others() -> None:
    if _libc().unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    _mount("none", Path("/"), "", MS_REC | MS_PRIVATE, "")


def _mount(source: str, target: Path, kind: str, flags: int, options: str) -> None:
    texts = [text.encode() for text in (source, str(target), kind, options)]
    if _libc().mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), str(target))


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
