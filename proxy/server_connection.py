"""One client's connection: its requests in turn, each led to what answers it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

from proxy.http_request import BadRequest, Request, RequestReader

logger = logging.getLogger(__name__)

_READ_BYTES = 64 * 1024


class Taker(Protocol):
    """What answers one request, by ``stream`` and ``answered`` of the connection."""

    def data_received(self, chunk: bytes) -> None:
        """Some of the body is here."""

    def body_received(self) -> None:
        """The request is whole."""

    def body_broken(self, reason: str) -> None:
        """What was to be the body is none; nothing more can be read from the client."""

    def on_connection_close(self) -> None:
        """The client has left before it was answered."""


class ServerConnection:
    """Reads requests, one after the other has been answered. To be made in a running loop."""

    def __init__(
        self,
        stream: IOStream,
        remote_ip: str,
        most_head_bytes: int,
        take: Callable[[ServerConnection, Request], Taker],
    ) -> None:
        """``take`` is given a request whose body is still to come."""
        self.stream = stream
        self.keeps_alive = False  # after the answer that is due
        self.may_go_on = True  # False: the next request is the last
        self._remote_ip = remote_ip
        self._protocol = "https" if isinstance(stream, SSLIOStream) else "http"
        self._most_head_bytes = most_head_bytes
        self._take = take
        self._taker: Taker | None = None
        self._is_due = False  # the taker has not answered yet, and the client is there
        self._answered: asyncio.Future[None] | None = None  # while it is waited for
        self._ahead: Awaitable[bytes] | None = None  # of the next request
        self._task: asyncio.Task[None] | None = None
        self._pause_seconds = 0.0  # before the next request is read
        self._resumed: asyncio.Future[None] | None = None  # while that goes on
        stream.set_close_callback(self._leave)

    def start(self, ended: Callable[[ServerConnection], None]) -> None:
        """Serve until one side ends it, and then call ``ended``."""
        self._task = asyncio.get_running_loop().create_task(self._serve())
        self._task.add_done_callback(lambda _: ended(self))

    async def close(self) -> None:
        """End it, and wait until that is done."""
        self.stream.close()
        if self._task is not None:
            await asyncio.wait((self._task,))

    def answered(self, sent: asyncio.Future[None]) -> None:
        """The request has its whole answer, which the client has taken when ``sent`` is done."""
        self._is_due = False
        if sent.done():
            self._go_on()
        else:
            sent.add_done_callback(lambda _: self._go_on())

    def pause(self, seconds: float) -> None:
        """Read the next request only so long after this one is answered, or once let go on."""
        self._pause_seconds = seconds

    def resume(self) -> None:
        """Pause no longer."""
        if self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(None)

    # --- requests ----------------------------------------------------------------------------

    async def _serve(self) -> None:
        try:
            self.stream.set_nodelay(True)
            data = b""
            while not self.stream.closed():
                data = await self._serve_one(data)
        except StreamClosedError:
            pass
        except Exception as exc:
            logger.error("unforeseen error", exc_info=exc)
        finally:
            self.stream.close()
            self._leave()
            if self.stream.error is not None:
                # By its traceback, it holds the stream and all that has written to it.
                self.stream.error.__traceback__ = None
            self._taker = None

    async def _serve_one(self, data: bytes) -> bytes:
        """Returns what has been read of the next request."""
        reader = RequestReader(self._most_head_bytes)
        try:
            body = reader.feed(data) if data else b""
            while reader.request is None:
                body = reader.feed(await self._read())
        except BadRequest as exc:
            await self._refuse(exc)
            return b""
        self.keeps_alive = reader.keeps_alive and self.may_go_on
        self._answered = answered = asyncio.get_running_loop().create_future()
        request = reader.request
        request.remote_ip, request.protocol = self._remote_ip, self._protocol
        self._is_due = True
        taker = self._taker = self._take(self, request)
        if body or not reader.is_whole:
            await self._receive_body(reader, taker, body)
        if self._is_due:
            taker.body_received()
        if not answered.done():
            if not reader.rest and reader.is_whole:
                # A stream that is read all the time need not be told so for each request.
                self._ahead = self.stream.read_bytes(_READ_BYTES, partial=True)
            await answered
        else:
            await asyncio.sleep(0)  # or who sends on and on would have all the turns
        self._answered = None
        if not (self.keeps_alive and reader.is_whole):
            self.stream.close()
        if self._pause_seconds:
            await self._wait_pause()
        return reader.rest

    async def _wait_pause(self) -> None:
        loop = asyncio.get_running_loop()
        self._resumed = loop.create_future()
        timer = loop.call_later(self._pause_seconds, self.resume)
        self._pause_seconds = 0.0
        if not self.stream.closed():
            await self._resumed
        timer.cancel()

    async def _receive_body(self, reader: RequestReader, taker: Taker, body: bytes) -> None:
        """Read to its end, or until the taker has answered without it."""
        if _asks_first(reader.request) and not body and not reader.is_whole and self._is_due:
            self.stream.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            while self._is_due:
                if body:
                    taker.data_received(body)
                if reader.is_whole or not self._is_due:
                    return
                body = reader.feed(await self._read())
        except BadRequest as exc:
            taker.body_broken(str(exc))

    async def _read(self) -> bytes:
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            ahead = asyncio.ensure_future(self.stream.read_bytes(_READ_BYTES, partial=True))
            if ahead.done():
                await asyncio.sleep(0)  # or who sends on and on would have all the turns
        try:
            data = await ahead
        finally:
            ahead = None  # or its failure would hold this frame, and this frame the failure
        if self.stream.closed():  # since it has arrived
            raise StreamClosedError
        return data

    async def _refuse(self, reason: BadRequest) -> None:
        """Answer what is no request, and close: there is no telling where the next one begins."""
        logger.info("no request: %s", reason)
        error = {"message": str(reason), "type": "invalid_request_error", "code": "bad_request"}
        body = json.dumps({"error": {**error, "param": None}}).encode()
        head = (
            f"HTTP/1.1 {reason.status} {reason.status.phrase}\r\nServer: sagemaker-proxy\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        await self.stream.write(head.encode() + body)
        self.stream.close()

    # --- the client leaves -------------------------------------------------------------------

    def _leave(self) -> None:
        self.resume()
        if self._is_due and self._taker is not None:
            self._is_due = False
            self._taker.on_connection_close()
            self._go_on()

    def _go_on(self) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(None)


def _asks_first(request: Request | None) -> bool:
    """Whether the client waits to be told to send its body."""
    if request is None or request.version == "HTTP/1.0":
        return False
    return request.headers.get("expect", "").lower() == "100-continue"
