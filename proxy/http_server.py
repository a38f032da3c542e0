"""Tornado's server with a bound on open connections, and ways to let go of them."""

from __future__ import annotations

import asyncio
from collections.abc import Container
from contextlib import suppress
from typing import cast

from tornado.http1connection import HTTP1ServerConnection
from tornado.httpserver import HTTPServer
from tornado.iostream import BaseIOStream, IOStream

from proxy.handlers.services import WorkerState

# Beyond max_connections, this many more are accepted just to be told so.
_EXCESS_CONNECTIONS = 100

# Between two looks at what takes too long.
_MOST_PAUSE_SECONDS = 1.0

# Closing waits for what a handler does at the end.
_CLOSE_SECONDS = 2.0


class BoundedHTTPServer(HTTPServer):
    """Tornado's server with bounds on open connections, and on what each takes to send.

    Tornado's own ``idle_connection_timeout`` and ``body_timeout`` cost each request two timers.
    """

    def bound_connections(
        self, limit: int, idle_seconds: float, body_seconds: float, state: WorkerState
    ) -> None:
        """Refuse, through ``state``, what is over ``limit``. To be called before listening.

        A connection has ``idle_seconds`` for a request's head, and then ``body_seconds`` for the
        rest, give or take a tenth.
        """
        self._limit = limit
        self._state = state
        self._empty = asyncio.Event()
        state.idle_seconds, state.body_seconds = idle_seconds, body_seconds
        self.conn_params.header_timeout = None
        self._pause = min(idle_seconds / 10, body_seconds / 10, _MOST_PAUSE_SECONDS)
        self._loop = asyncio.get_running_loop()
        self._loop.call_later(self._pause, self._close_overdue)

    def handle_stream(self, stream: IOStream, address: tuple[str, int]) -> None:
        """Take a new connection."""
        state = self._state
        if state.connections >= self._limit + _EXCESS_CONNECTIONS:
            stream.close()
            return
        state.connections += 1
        self._empty.clear()
        if state.connections > self._limit:
            state.excess_connections.add(stream)
        state.expect_request(stream)
        super().handle_stream(stream, address)

    def on_close(self, server_conn: object) -> None:
        """Count a connection out."""
        self._state.deadlines.pop(cast(HTTP1ServerConnection, server_conn).stream, None)
        self._state.connections -= 1
        if self._state.connections == 0:
            self._empty.set()
        super().on_close(server_conn)

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
        self.conn_params.no_keep_alive = True
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
