"""One request and its answer on a connection of Tornado's HTTP server."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any, cast

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPHeaders, RequestStartLine, ResponseStartLine

_WITHOUT_BODY = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


@dataclass(slots=True)
class Request:
    """A request without its body.

    ``headers`` are by their names in lower case, several of a name joined by commas; ``theirs``
    are the same as Tornado has them, and looks at. ``head_bytes`` is the size of it all.
    """

    method: str
    uri: str
    version: str
    headers: dict[str, str]
    theirs: HTTPHeaders
    head_bytes: int
    remote_ip: str
    protocol: str

    @classmethod
    def of(
        cls, connection: HTTP1Connection, line: RequestStartLine, theirs: HTTPHeaders
    ) -> Request:
        """What has arrived on ``connection``."""
        method, uri, version = line
        size = len(method) + len(uri)
        headers: dict[str, str] = {}
        for name, value in theirs.get_all():
            size += len(name) + len(value) + 4
            name = name.lower()
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        context = cast(Any, connection.context)
        return cls(method, uri, version, headers, theirs, size, context.remote_ip, context.protocol)


class Exchange:
    """Sends an answer: headers first, once, then what is written, as it is flushed."""

    def __init__(self, connection: HTTP1Connection, request: Request) -> None:
        """``request`` is the one that ``connection`` is at."""
        self.request = request
        self._connection = connection
        self._status = 200
        self._reason = "OK"
        self._headers = _Headers()
        self._unsent: list[bytes] = []
        self._headers_written = False
        self._finished = False
        connection.set_close_callback(self.on_connection_close)

    @property
    def stream(self) -> Any:
        """Tornado's stream of the client's connection."""
        return self._connection.stream

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
        """Send what has been written; done when the socket has taken it."""
        chunk = self._unsent[0] if len(self._unsent) == 1 else b"".join(self._unsent)
        self._unsent.clear()
        if self.request.method == "HEAD":
            chunk = b""
        if not self._headers_written:
            self._headers_written = True
            line = ResponseStartLine("", self._status, self._reason)
            self._headers["Date"] = _date(int(time.time()))
            headers = cast(HTTPHeaders, self._headers)
            return self._connection.write_headers(line, headers, chunk)
        if chunk:
            return self._connection.write(chunk)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def finish(self) -> asyncio.Future[None]:
        """Complete the answer."""
        if not self._headers_written and self._status not in _WITHOUT_BODY:
            self._headers.setdefault("Content-Length", str(sum(map(len, self._unsent))))
        self._connection.set_close_callback(None)
        done = self.flush()
        self._connection.finish()
        self._finished = True
        return done

    def on_connection_close(self) -> None:
        """The client has left."""


class _Headers(dict[str, str]):
    """By their names as ``_shown``: as much of ``HTTPHeaders`` as ``write_headers`` uses.

    That checks them for line ends.
    """

    def get_all(self) -> Any:
        return self.items()


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
