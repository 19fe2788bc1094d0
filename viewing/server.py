"""Run the application on a socket, with limits for slow clients and many of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from cli.command import first_line
from errors import UserError

SLOW = 10.0  # seconds in which a request must have come, without what it sends
READ = 60.0  # seconds in which an answer must have been read
KEPT = 5  # seconds that a connection is kept without a request
FILES = 16384  # connections at a time, where the system allows so many
BACKLOG = 2048
LONGEST = 16384  # bytes of a request without what it sends


class ImpatientProtocol(H11Protocol):
    """HTTP as uvicorn speaks it, but a request that does not come is not waited for."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._waiting is None:
            self._wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing() and self.transport.get_write_buffer_size():
            self.loop.call_later(READ, self._end_unread)

    def _end_unread(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(SLOW, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


def listen(host: str, port: int) -> socket.socket:
    """Open the socket to listen on; port 0 takes any that is free.

    Raises:
        UserError: If that is not possible, such as when the port is taken.
    """
    try:
        kind, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(kind, socket.SOCK_STREAM)
        if os.name != "nt":  # there it would let two servers share a port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)  # now, so that whoever is told the address can connect
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or first_line(error)
        raise UserError(f"--host {host} --port {port}: cannot listen there: {why}") from None
    return listening


def serve(app: ASGIApp, listening: socket.socket) -> None:
    """Serve until the program is interrupted."""
    _allow_many_connections()
    logging.getLogger("uvicorn").addHandler(logging.NullHandler())
    logging.getLogger("uvicorn").propagate = False
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=ImpatientProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEPT,
        timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=LONGEST,
    )
    server = uvicorn.Server(config)

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(_say)
        await server.serve(sockets=[listening])

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())


def _say(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report what goes wrong beside any request, such as too many connections, in one line."""
    error = context.get("exception")
    print(f"warning: {context['message']}: {error}"[:300], file=sys.stderr)


def _allow_many_connections() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
