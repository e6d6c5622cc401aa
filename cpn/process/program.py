"""What every program of ours does with its messages, and how it leaves on an error."""

import logging
import os
import signal
import sys
from typing import NoReturn

from cpn.errors import error_text


def configure_logging() -> None:
    """Send the program's own messages to stderr as plain lines, warnings marked as such."""
    handler = logging.StreamHandler()
    handler.setFormatter(_PlainFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def leave(error: Exception) -> NoReturn:
    """Tells the one line that a person can act on, and exits with code 2."""
    if isinstance(error, BrokenPipeError):
        # The reader has gone, as in `... --help | head`: nobody is left to tell anything.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None
    sys.stderr.write(f"error: {error_text(error)}\n")
    raise SystemExit(2) from None


class _PlainFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno <= logging.INFO else f"{record.levelname.lower()}: {text}"
