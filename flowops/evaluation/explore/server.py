"""The page served on this machine, until it is interrupted."""

from __future__ import annotations

import errno
import logging
import signal
import socket
from collections.abc import Callable
from typing import Any

from flowops._arguments import whole
from flowops._named import require
from flowops.evaluation.explore.page import Page
from flowops.evaluation.explore.subject import Subject

PORT = 5006


def served(subject: Subject, *, port: int = PORT) -> Any:
    """A server of the page of a subject, started: `address(server)` is where it is, its `io_loop` serves.

    It listens on this machine alone, and all that the page needs comes from it: nothing is loaded from a network.

    Args:
        subject: what is explored.
        port: where it listens; 0 for any that is free.

    Raises:
        ImportError: without bokeh; the message names the extra.
        OSError: if the port is taken.
        ValueError: for a port that is none.
    """
    if whole(port, "port", 0) > 65535:
        raise ValueError(f"`port` must be at most 65535, got {port}; pass 5006, or 0 for any that is free.")
    servers = require("bokeh.server.server", "explore")
    handlers = require("bokeh.application.handlers.function", "explore")
    application = require("bokeh.application", "explore").Application
    view = subject.under(None)  # once for all readers, and what is wrong with it is told before anything is served

    def made(document: Any) -> None:
        Page(subject, view, document)

    logging.getLogger("tornado.access").setLevel(logging.ERROR)  # a browser asks for icons that are not there
    logging.getLogger("bokeh.server.views.ws").setLevel(logging.ERROR)  # a page may be closed while it is drawn
    _check_free(port)
    server = servers.Server({"/": application(handlers.FunctionHandler(made))}, port=port, address="localhost")
    server.start()
    return server


def _check_free(port: int) -> None:
    """Refuse a port on which nothing can listen."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: not held by what has ended
        try:
            probe.bind(("localhost", port))
        except OSError as error:
            why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be had ({error.strerror})"
            raise OSError(f"`port` must be free, and {port} {why}; pass another, or 0 for any that is free.") from error


def address(server: Any) -> str:
    """Where a server is."""
    return f"http://localhost:{server.port}/"


def serve(subject: Subject, *, port: int = PORT, begun: Callable[[str], None]) -> None:
    """Serve the page of a subject until Ctrl-C.

    Args:
        subject: what is explored.
        port: where it listens; 0 for any that is free.
        begun: is told the address.

    Raises:
        KeyboardInterrupt: when it is interrupted.
        ImportError, OSError, ValueError: as `served`; a ValueError too outside the main thread.
    """
    server = served(subject, port=port)
    stopped = []

    def stop(number: int, _: object) -> None:
        """An exception raised from here could end in a callback or a destructor that swallows it."""
        stopped.append(number)
        server.io_loop.add_callback_from_signal(server.io_loop.stop)

    before = signal.signal(signal.SIGINT, stop)
    try:
        begun(address(server))
        server.io_loop.start()
    finally:
        signal.signal(signal.SIGINT, before)
        server.stop(wait=False)
        server.unlisten()
    if stopped:
        raise KeyboardInterrupt
