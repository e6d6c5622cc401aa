"""Listens on this machine alone, until Ctrl-C."""

import logging
import os
import socket
from contextlib import suppress

from cpn.demo.analysis import Analyst
from cpn.demo.page import Facts
from cpn.errors import UserError

try:
    import uvicorn

    from cpn.demo.application import Demo
except ModuleNotFoundError as error:
    if str(error.name).partition(".")[0] not in {"starlette", "uvicorn"}:
        raise
    raise UserError("the demo needs the extra demo: pip install 'cpn-pose[demo]'") from error

logger = logging.getLogger(__name__)

# What a photo under way gets after Ctrl-C; a second Ctrl-C ends it at once.
GRACE_SECONDS = 2


def listen(port: int) -> socket.socket:
    """A socket that only this machine can reach; connections wait in it until `serve` takes them.

    Args:
        port: 0 takes any that is free.

    Raises:
        UserError: the port is taken or not allowed.
    """
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(
            f"port={port}: {reason}; give another port, or port=0 for any that is free"
        ) from error


def server(analyst: Analyst, facts: Facts) -> uvicorn.Server:
    """Takes connections of a socket of `listen`; it opens none itself."""
    config = uvicorn.Config(
        Demo(analyst, facts).application(),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return uvicorn.Server(config)


def serve(analyst: Analyst, facts: Facts, listening: socket.socket) -> None:
    """Answers requests until Ctrl-C."""
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    port = listening.getsockname()[1]
    logger.info("serving on http://127.0.0.1:%d (Ctrl-C ends it)", port)
    with suppress(KeyboardInterrupt):  # uvicorn ends in order, then passes it on
        server(analyst, facts).run(sockets=[listening])
    logger.info("ended")
