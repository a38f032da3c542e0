"""One request and its answer on a client's connection."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from tornado.iostream import IOStream, StreamClosedError

from proxy.http_request import Request
from proxy.server_connection import ServerConnection

_WITHOUT_BODY = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


class Exchange:
    """Sends an answer: headers first, once, then what is written, as it is flushed."""

    def __init__(self, connection: ServerConnection, request: Request) -> None:
        """``request`` is the one that ``connection`` is at."""
        self.request = request
        self.stream: IOStream = connection.stream
        self._connection = connection
        self._status = 200
        self._reason = "OK"
        self._headers: dict[str, str] = {}
        self._unsent: list[bytes] = []
        self._headers_written = False
        self._finished = False
        self._chunked = False
        self._left: int | None = None  # of an announced length

    @property
    def status(self) -> int:
        """The answer's."""
        return self._status

    @property
    def has_begun(self) -> bool:
        """Whether the client has been sent a status already."""
        return self._headers_written

    def set_status(self, status: int, reason: str = "") -> None:
        """Answer with ``status``."""
        self._status = status
        self._reason = reason or _reason(status)

    def set_header(self, name: str, value: str) -> None:
        """Have one header ``name``, whatever there was of it."""
        self._headers[_shown(name)] = value

    def write(self, chunk: bytes) -> None:
        """Add to the answer."""
        self._unsent.append(chunk)

    def forget_unsent(self) -> None:
        """Drop what was written since the last flush."""
        self._unsent.clear()

    def flush(self) -> asyncio.Future[None]:
        """Send what has been written; done when the socket has taken it.

        That fails if the client has left. Raises ``ValueError`` for what HTTP cannot say.
        """
        try:
            sent = self._send(self._take_unsent(), last=False)
            if sent.done():
                return sent
            # The stream's own is not to be cancelled with whoever waits.
            waits = asyncio.shield(sent)
            waits.add_done_callback(_note_failure)
            return waits
        except StreamClosedError:
            failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            failed.set_exception(StreamClosedError())  # the one above holds this frame
            _note_failure(failed)
            return failed

    def finish(self) -> asyncio.Future[None]:
        """Complete the answer. Raises ``StreamClosedError``, and ``ValueError`` as ``flush``."""
        chunk = self._take_unsent()
        if not self._headers_written and self._status not in _WITHOUT_BODY:
            self._headers.setdefault("Content-Length", str(len(chunk)))
        sent = self._send(chunk, last=True)
        self._finished = True
        self._connection.answered(sent)
        return sent

    def pause_after(self, seconds: float) -> None:
        """Let the client's next request, on this connection, wait so long."""
        self._connection.pause(seconds)

    def on_connection_close(self) -> None:
        """The client has left."""

    def _take_unsent(self) -> bytes:
        chunk = self._unsent[0] if len(self._unsent) == 1 else b"".join(self._unsent)
        self._unsent.clear()
        return chunk

    def _send(self, chunk: bytes, *, last: bool) -> asyncio.Future[None]:
        if self.stream.closed():
            raise StreamClosedError
        data = b""
        if not self._headers_written:
            self._headers_written = True
            data = self._begin()
        if self.request.method == "HEAD":
            chunk = b""
        elif self._chunked:
            if chunk:
                chunk = b"%x\r\n%b\r\n" % (len(chunk), chunk)
            if last:
                chunk += b"0\r\n\r\n"
        elif self._left is not None:
            self._left -= len(chunk)
            if self._left < 0 or (last and self._left):
                raise ValueError("the answer has not the length that was announced")
        if data or chunk or self.stream.writing():
            return self.stream.write(data + chunk)  # done when all before it is taken, too
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def _begin(self) -> bytes:
        """The answer's head."""
        headers, version = self._headers, self.request.version
        headers["Date"] = _date(int(time.time()))
        if "Content-Length" in headers:
            self._left = int(headers["Content-Length"])
        elif version == "HTTP/1.1" and self._status not in _WITHOUT_BODY:
            self._chunked = self.request.method != "HEAD"
            if self._chunked:
                headers["Transfer-Encoding"] = "chunked"
        if "Connection" not in headers and self._connection.keeps_alive != (version == "HTTP/1.1"):
            # What is otherwise not taken for granted in that version.
            headers["Connection"] = "keep-alive" if self._connection.keeps_alive else "close"
        lines = [f"HTTP/1.1 {self._status} {self._reason}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join(lines)
        if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
            raise ValueError("a header has more than one line")
        return head.encode("latin-1") + b"\r\n\r\n"


def _note_failure(sent: asyncio.Future[None]) -> None:
    if not sent.cancelled():
        sent.exception()  # whoever does not wait for it need not know


@lru_cache(1000)
def _shown(name: str) -> str:
    return "-".join(word.capitalize() for word in name.split("-"))


@lru_cache(1)
def _date(now: int) -> str:
    return formatdate(now, usegmt=True)


@lru_cache(100)
def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
