"""Errors that are meant for a person: one clear line, exit code 2, no traceback."""

from collections.abc import Sequence


class UserError(ValueError):
    """A problem that the user can mend.

    The message is one line: what is wrong, where (file, record id or dotted config key), what is
    allowed and what to do. Scripts print it after `error:` and leave with exit code 2.
    """


def os_error_text(error: OSError) -> str:
    """What the system or the program said, as one line: `FILE: REASON` where both are known."""
    if error.filename is None or error.strerror is None:
        return error.strerror or str(error)
    return f"{error.filename}: {error.strerror}"


def error_text(error: Exception) -> str:
    """What a person is told of an error: its message, or `os_error_text`."""
    return os_error_text(error) if isinstance(error, OSError) else str(error)


def first_line(error: BaseException) -> str:
    """Of what an error says, or its kind; the other lines may be stack frames."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def one_line(text: object) -> str:
    """Text from outside, such as a file's name: line ends and control characters are escaped."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)


def count_records(what: str, ids: Sequence[object]) -> str:
    """'1 annotation (id 7)' or '2 annotations (ids 7, 9)'; the first five ids."""
    plural = "" if len(ids) == 1 else "s"
    return f"{len(ids)} {what}{plural} (id{plural} {_first(ids)})"


def describe_ids(ids: Sequence[object]) -> str:
    """'7 (1, 2, 3, 4, 5, …)': a count and the first five."""
    return f"{len(ids)} ({_first(ids)})"


def _first(ids: Sequence[object]) -> str:
    shown = ", ".join(one_line(value) for value in ids[:5])
    return f"{shown}{', …' if len(ids) > 5 else ''}"
