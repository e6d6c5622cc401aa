"""A job of a test: `python -m tests.ablation.jobs ORDER`; the order is a line of Python's names."""

import os
import signal
import sys
import time
from pathlib import Path

from cpn.process.interruption import EXIT_CODE, die_with_parent


def main() -> None:
    """Does what the order's first word says; its second names a file that is written to."""
    die_with_parent()
    word, path = Path(sys.argv[1]).read_text().split()
    print(f"{word} in place {os.environ['PLACE']}", flush=True)  # noqa: T201
    if word == "fail":
        sys.stderr.write("error: it failed\n")
        raise SystemExit(2)
    if word == "wait":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_CODE))
        Path(path).write_text(str(os.getpid()))
        time.sleep(60)
    Path(path).write_text(os.environ["PLACE"])


if __name__ == "__main__":
    main()
