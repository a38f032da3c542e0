"""A connection to SageMaker that is kept alive: one request at a time out, its response in."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable
from copy import copy
from http import HTTPStatus
from typing import cast

from proxy.http_response import BadResponse, Head, ResponseReader

# More than this is not read ahead of who takes it.
_MOST_BUFFERED_BYTES = 256 * 1024

# A body is written in pieces of this size, each when most of the one before it has gone.
_PIECE_BYTES = 256 * 1024


class ConnectionBroken(OSError):
    """It ended, or had no HTTP to say, when an answer was to come."""


class Response:
    """An answer whose body is still to be read. Close it, be it read to its end or not."""

    __slots__ = ("_buffered", "_chunks", "_connection", "_error", "_waiter", "reader")

    def __init__(self, connection: Connection) -> None:
        self.reader = ResponseReader()
        self._connection = connection
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def status(self) -> int:
        """HTTP's."""
        return cast(Head, self.reader.head).status

    @property
    def headers(self) -> dict[str, str]:
        """By their names in lower case."""
        return cast(Head, self.reader.head).headers

    async def read(self) -> bytes:
        """The next of the body, all that is here; empty at the end.

        Raises ``ConnectionBroken``, and ``TimeoutError`` if nothing comes in time, each when what
        came before has been read.
        """
        while not self._chunks:
            if self.reader.is_whole:
                return b""
            await self.wait()
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        if self._buffered > _MOST_BUFFERED_BYTES:
            self._connection.go_on(self)
        self._buffered = 0
        return data

    def close(self) -> None:
        """End the connection unless the answer has arrived as a whole."""
        if not self.reader.is_whole:
            self._connection.abort(self)

    @property
    def has_failed(self) -> bool:
        """Whether nothing more will come."""
        return self._error is not None

    async def wait(self) -> None:
        """Return when something has happened. Raises what ``read`` does."""
        if self._error is not None:
            raise copy(self._error)  # one that is kept would hold this frame, too
        self._waiter = self._connection.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    # --- from the connection -----------------------------------------------------------------

    def feed(self, data: bytes) -> bool:
        """Take what has arrived; returns whether there is room for more. Raises ``BadResponse``."""
        if piece := self.reader.feed(data):
            self._chunks.append(piece)
            self._buffered += len(piece)
        self.wake()
        return self._buffered <= _MOST_BUFFERED_BYTES

    def fail(self, error: Exception) -> None:
        """Nothing more comes."""
        if self._error is None:
            self._error = error
        self.wake()

    def wake(self) -> None:
        """Something has happened."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Connection(asyncio.Protocol):
    """Bytes out and in, with back-pressure both ways, and a bound on silence."""

    def __init__(
        self,
        read_timeout_seconds: float,
        free: Callable[[Connection], None],
        lost: Callable[[Connection], None],
    ) -> None:
        """``free`` is called when the next request may be sent, ``lost`` when none may any more."""
        self.loop = asyncio.get_running_loop()
        self.idle_since = 0.0  # the loop's time
        self._seconds = read_timeout_seconds
        self._free = free
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._poll = select.poll()
        self._response: Response | None = None  # that is still to arrive
        self._sending = False
        self._full = False  # there is no more room to write
        self._paused = False  # nothing is read
        self._last = 0.0  # when something last happened
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """Whether a request may be sent, as far as is known."""
        return self._transport is not None and not self._transport.is_closing()

    def is_usable(self) -> bool:
        """Whether that is so, and nothing has come unasked, be it the other side's end.

        The loop may not have looked at the socket since.
        """
        return self.is_open and not self._poll.poll(0)

    async def send(self, head: bytes, body: bytes) -> Response:
        """Send a request, and return when the head of its response is here.

        Raises ``ConnectionBroken``, and ``TimeoutError`` if nothing happens for too long; it is
        closed then, and if this is cancelled.
        """
        response = self._response = Response(self)
        self._last = self.loop.time()
        self._timer = self.loop.call_later(self._seconds, self._check)
        self._sending = True
        try:
            if len(body) <= _PIECE_BYTES:
                self._write(head + body)
            else:
                await self._write_pieces(response, head, body)
            self._sending = False
            while response.reader.head is None:
                await response.wait()
        except BaseException:
            self.abort(response)
            raise
        if response.reader.is_whole and self._response is response:
            self._complete()  # else it is done, and may be another one's by now
        return response

    async def _write_pieces(self, response: Response, head: bytes, body: bytes) -> None:
        self._write(head)
        pieces = memoryview(body)
        for at in range(0, len(body), _PIECE_BYTES):
            while self._full and response.reader.head is None:
                await response.wait()
            if response.reader.head is None:
                self._write(pieces[at : at + _PIECE_BYTES])
            elif response.status < HTTPStatus.MULTIPLE_CHOICES:
                self._write(pieces[at:])  # who answers while it reads is read while we send
                return
            else:
                # It is refused before it has been read. The rest would be for nobody.
                response.reader.keeps_alive = False
                return

    def _write(self, data: bytes | memoryview) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def abort(self, response: Response) -> None:
        """End the connection, if it is still ``response`` that is on it."""
        if self._response is response and self._transport is not None:
            self._transport.abort()

    def go_on(self, response: Response) -> None:
        """There is room to read again."""
        if self._response is response and self._paused:
            self._paused = False
            self._last = self.loop.time()
            cast(asyncio.Transport, self._transport).resume_reading()

    def close(self) -> None:
        """End it now."""
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio's side ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(_PIECE_BYTES)
        plain = transport.get_extra_info("socket")
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._poll.register(plain.fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Something has arrived."""
        response = self._response
        if response is None:
            self.close()  # nobody has asked
            return
        self._last = self.loop.time()
        try:
            has_room = response.feed(data)
        except BadResponse as exc:
            self._fail(ConnectionBroken(str(exc)))
            return
        if response.reader.is_whole:
            self._complete()
        elif not (has_room or self._paused):
            self._paused = True
            cast(asyncio.Transport, self._transport).pause_reading()

    def eof_received(self) -> None:
        """Nothing more will arrive; ``connection_lost`` follows, at once if nobody waits."""
        if self._response is None:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self._transport = None
        self._stop_timer()
        response, self._response = self._response, None
        if response is not None:
            self._end(response, exc)
        self._lost(self)

    def _end(self, response: Response, cause: Exception | None) -> None:
        try:
            if cause is None:
                response.reader.end()
                response.wake()
                return
        except BadResponse as exc:
            cause = exc.with_traceback(None)  # that holds this frame
        response.fail(ConnectionBroken(f"{type(cause).__name__}: {cause}"))

    def pause_writing(self) -> None:
        """There is enough to be sent."""
        self._full = True

    def resume_writing(self) -> None:
        """Most of it has been sent."""
        self._full = False
        self._last = self.loop.time()
        if self._response is not None:
            self._response.wake()

    # --- the end of an exchange --------------------------------------------------------------

    def _complete(self) -> None:
        if self._sending:
            return  # ``send`` completes it
        response, self._response = self._response, None
        self._stop_timer()
        if response is None:
            return
        if self._paused:
            self._paused = False
            cast(asyncio.Transport, self._transport).resume_reading()
        unsent = cast(asyncio.Transport, self._transport).get_write_buffer_size()
        if response.reader.keeps_alive and self.is_open and not unsent:
            self.idle_since = self.loop.time()
            self._free(self)
        else:
            self.close()

    def _fail(self, error: Exception) -> None:
        if self._response is not None:
            self._response.fail(error)
        self.close()

    def _check(self) -> None:
        """End what has been silent for too long, unless it is we who do not listen."""
        silent = 0.0 if self._paused else self.loop.time() - self._last
        if silent >= self._seconds:
            self._timer = None
            self._fail(TimeoutError(f"nothing has happened for {self._seconds:g} s"))
        else:
            self._timer = self.loop.call_later(self._seconds - silent, self._check)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
