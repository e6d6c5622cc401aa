"""PyTorch files of unknown origin: nothing in them is run, and none unpacks to more than it is."""

import io
import pickle
import struct
import warnings
import zipfile
from typing import Any

import torch

from cpn.errors import UserError, first_line

# How torch tells its archives from the plain pickles of before its version 1.6.
_ARCHIVE_START = b"PK\x03\x04"
# The record that ends an archive, without a comment, which torch never writes. An archive with
# something behind it may have two tables of contents: one for who checks and one for who reads.
_END_START, _END_LENGTH, _NO_COMMENT = b"PK\x05\x06", 22, b"\0\0"

# What torch.load was seen to raise for bytes that no torch.save wrote, MemoryError for a size that
# they claim.
_UNREADABLE = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError),
    *(RuntimeError, TypeError, ValueError, struct.error),
)


def parse_torch_file(content: bytes, *, source: object) -> Any:  # noqa: ANN401 - whatever was saved
    """What `torch.save` wrote, as far as it is tensors and plain values; tensors on the CPU.

    Args:
        content: of the file.
        source: its name, for messages.

    Raises:
        UserError: the file is damaged, holds pickled objects, or would unpack to more than it is.
    """
    _refuse_packed_archive(content, source)
    try:
        with warnings.catch_warnings():  # of formats that torch reads, but no longer writes
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{source}: not a plain PyTorch file: it is damaged or holds pickled objects, which "
            "are never executed; of weights, save the state_dict() alone"
        ) from error
    except _UNREADABLE as error:
        reason = first_line(error)
        raise UserError(f"{source}: cannot be read as a PyTorch file ({reason})") from error


def _refuse_packed_archive(content: bytes, source: object) -> None:
    """Refuses an archive with compressed entries, or with entries that claim more than it has."""
    if not content.startswith(_ARCHIVE_START):
        return
    end = content[-_END_LENGTH:]
    if not end.startswith(_END_START) or not end.endswith(_NO_COMMENT):
        raise UserError(
            f"{source}: cannot be read as a PyTorch file (its archive has no end or more behind it)"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
    # A RuntimeError says that a newer version of the format is asked for.
    except (zipfile.BadZipFile, ValueError, LookupError, RuntimeError, OSError) as error:
        raise UserError(f"{source}: cannot be read as a PyTorch file ({error})") from error
    claimed = sum(entry.file_size for entry in entries)
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if packed or claimed > len(content):
        raise UserError(
            f"{source}: refused: a PyTorch file of {len(content)} bytes that would unpack to "
            f"{claimed} was not written by torch"
        )
