"""Errors that are meant for a person: one clear line, exit code 2, no traceback."""


class UserError(ValueError):
    """A problem that the user can mend.

    The message is one line: what is wrong, where (file, record id or dotted config key), what is
    allowed and what to do. Scripts print it after `error: ` and leave with exit code 2.
    """


def os_error_text(error: OSError) -> str:
    """What the system or the program said, as one line: `FILE: REASON` where both are known."""
    if error.filename is None or error.strerror is None:
        return error.strerror or str(error)
    return f"{error.filename}: {error.strerror}"
