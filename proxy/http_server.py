"""Takes connections, with a bound on how many are open and on what each takes to send."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Container, Iterable
from contextlib import suppress

from tornado.iostream import BaseIOStream, IOStream
from tornado.tcpserver import TCPServer

from proxy.accepting import Acceptor
from proxy.handlers.services import WorkerState
from proxy.http_request import Request
from proxy.server_connection import ServerConnection, Taker

# Beyond max_connections, this many more are accepted just to be told so.
_EXCESS_CONNECTIONS = 100

# Between two looks at what takes too long.
_MOST_PAUSE_SECONDS = 1.0

# Closing waits for what a handler does at the end.
_CLOSE_SECONDS = 2.0


class HTTPServer(TCPServer):
    """Accepts connections by TLS, or without, and lets go of them.

    One sweep in place of a timer for each of them closes what takes too long.
    """

    def __init__(
        self,
        take: Callable[[ServerConnection, Request], Taker],
        state: WorkerState,
        *,
        ssl_context: ssl.SSLContext | None = None,
        most_head_bytes: int,
        most_connections: int,
        idle_seconds: float,
        body_seconds: float,
    ) -> None:
        """To be made in a running loop; ``take`` is given each request.

        Connections over ``most_connections`` are refused through ``state``. Each has
        ``idle_seconds`` for a request's head, and then ``body_seconds`` for the rest, give or take
        a tenth.
        """
        super().__init__(ssl_options=ssl_context)
        self._take = take
        self._state = state
        self._most_head_bytes = most_head_bytes
        self._most_connections = most_connections
        state.idle_seconds, state.body_seconds = idle_seconds, body_seconds
        self._connections: set[ServerConnection] = set()
        self._empty = asyncio.Event()
        self._pause = min(idle_seconds / 10, body_seconds / 10, _MOST_PAUSE_SECONDS)
        self._loop = asyncio.get_running_loop()
        self._loop.call_later(self._pause, self._close_overdue)

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """Listen; as Tornado does, but for what happens when no file is left."""
        for each in sockets:
            self._sockets[each.fileno()] = each
            self._handlers[each.fileno()] = Acceptor(each, self._handle_connection).stop

    def handle_stream(self, stream: IOStream, address: object) -> None:
        """Take a new connection."""
        state = self._state
        if state.connections >= self._most_connections + _EXCESS_CONNECTIONS:
            stream.close()
            return
        state.connections += 1
        self._empty.clear()
        if state.connections > self._most_connections:
            state.excess_connections.add(stream)
        state.expect_request(stream)
        client = str(address[0]) if isinstance(address, tuple) else ""
        connection = ServerConnection(stream, client, self._most_head_bytes, self._take)
        self._connections.add(connection)
        connection.start(self._count_out)

    def _count_out(self, connection: ServerConnection) -> None:
        self._state.deadlines.pop(connection.stream, None)
        self._connections.discard(connection)
        self._state.connections -= 1
        if self._state.connections == 0:
            self._empty.set()

    def _close_overdue(self) -> None:
        self._loop.call_later(self._pause, self._close_overdue)
        now, deadlines = self._loop.time(), self._state.deadlines
        for stream in [each for each, deadline in deadlines.items() if deadline <= now]:
            del deadlines[stream]
            stream.close()

    def let_go(self, idle_seconds: float) -> None:
        """From now on, answer one more request on each connection, if it comes in time.

        The time begins with the end of the answer before. Where that was before now, it has begun
        already, and is longer: those connections are ``state.idle_connections``.
        """
        for connection in self._connections:
            connection.may_go_on = False
            connection.resume()
        self._state.idle_seconds = idle_seconds
        self._pause = min(self._pause, idle_seconds / 10)
        streams: set[BaseIOStream] = {each.stream for each in self._connections}
        self._state.idle_connections = streams - self._state.busy

    async def wait_empty(self, seconds: float) -> None:
        """Return when no connection is open, or the time is over."""
        if self._state.connections:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), seconds)

    async def close_connections(self, some: Container[object] | None = None) -> None:
        """Close them all, or some of them, and wait for their end."""
        closing = [
            each.close() for each in self._connections if some is None or each.stream in some
        ]
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*closing), _CLOSE_SECONDS)
