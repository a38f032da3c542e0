"""HTTP/1.1 requests out of the bytes that arrive (RFC 9112), read strictly.

Whatever two readers could take differently is refused: that is how requests are smuggled.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus

from proxy.http_chunks import BadChunk, Chunks

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VERSION = re.compile(rb"HTTP/1\.[0-9]")
_EMPTY_LINES = re.compile(rb"\A(?:\r\n)+")
_LENGTHS = re.compile(r"([0-9]+)(?:,[ \t]*\1)*", re.ASCII)  # one, or the same again
_ABSOLUTE = re.compile(r"https?://[^/?]*", re.IGNORECASE)
_HOST = re.compile(r"[A-Za-z0-9\-._~%!$&'()*+;=:\[\]]*")

# All that a head is made of, line ends included.
_VISIBLE = bytes({*range(0x20, 0x7F), *range(0x80, 0x100)})
_ALLOWED = _VISIBLE + b"\t\r\n"

_MOST_LENGTH_DIGITS = 18

# To read more would hold up everybody else, however short they are.
_MOST_HEADERS = 1000

# Bytes of a name that is remembered: a thousand as long as a head may be would fill the memory.
_MOST_KEPT_NAME = 64


class BadRequest(ValueError):
    """What has arrived is no HTTP/1.1 request."""

    status = HTTPStatus.BAD_REQUEST


class HeadTooLong(BadRequest):
    """What has arrived is more than a head may be."""

    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


@dataclass(slots=True)
class Request:
    """A request without its body.

    ``headers`` are by their names in lower case, values as Latin-1, several of a name joined by
    commas. ``head_bytes`` is the size of it all.
    """

    method: str
    uri: str
    version: str  # HTTP/1.0 or HTTP/1.1
    headers: dict[str, str]
    head_bytes: int
    remote_ip: str = ""
    protocol: str = "https"


class RequestReader:
    """Reads one request."""

    __slots__ = (
        "_chunks",
        "_left",
        "_most",
        "_pending",
        "is_whole",
        "keeps_alive",
        "request",
        "rest",
    )

    def __init__(self, most_head_bytes: int) -> None:
        self.request: Request | None = None  # until its head is here as a whole
        self.is_whole = False
        self.keeps_alive = False  # whether the client may send another one
        self.rest = b""  # what has arrived behind its end
        self._most = most_head_bytes
        self._left = 0  # bytes of a body without chunks
        self._chunks: Chunks | None = None
        self._pending = b""  # the beginning of the head

    def feed(self, data: bytes) -> bytes:
        """Take what has arrived; returns what of it is the body's. Raises ``BadRequest``."""
        if self.request is None:
            data = self._feed_head(data)
            if self.request is None:
                return b""
        if self._chunks is not None:
            return self._feed_chunks(self._chunks, data)
        if len(data) < self._left:
            self._left -= len(data)
            return data
        self.is_whole = True
        if len(data) == self._left:
            return data
        self.rest = data[self._left :]
        return data[: self._left]

    def _feed_head(self, data: bytes) -> bytes:
        """Returns what is behind the head."""
        data = self._pending + data if self._pending else data
        if data.startswith(b"\r\n"):
            data = _EMPTY_LINES.sub(b"", data)  # between requests they say nothing
        end = data.find(b"\r\n\r\n")
        if (len(data) if end < 0 else end) > self._most:
            raise HeadTooLong("the request line and headers are too long")
        if end < 0:
            self._pending = data
            return b""
        self._pending = b""
        self.request = _parse_head(data[:end])
        self._expect_body(self.request)
        return data[end + 4 :]

    def _expect_body(self, request: Request) -> None:
        headers = request.headers
        options = {option.strip() for option in headers.get("connection", "").lower().split(",")}
        if request.version == "HTTP/1.1":
            self.keeps_alive = "close" not in options
        else:
            self.keeps_alive = "keep-alive" in options and "close" not in options
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        if coding is not None:
            if length is not None or request.version != "HTTP/1.1":
                raise BadRequest("it is not clear where the body ends")
            if coding.lower() != "chunked":
                raise BadRequest("the only transfer coding for a body is chunked")
            self._chunks = Chunks()
        elif length is not None:
            found = _LENGTHS.fullmatch(length)
            if found is None:
                raise BadRequest("Content-Length must be one number")
            # What is longer is refused before it could be read.
            digits = headers["content-length"] = found[1].lstrip("0") or "0"
            self._left = int(digits[: _MOST_LENGTH_DIGITS + 1])

    def _feed_chunks(self, chunks: Chunks, data: bytes) -> bytes:
        try:
            body = chunks.feed(data)
        except BadChunk as exc:
            raise BadRequest(f"of the body, {exc}") from None
        if chunks.is_whole:
            self.is_whole = True
            self.rest = chunks.rest
        return body


def _parse_head(head: bytes) -> Request:
    first, *lines = head.split(b"\r\n")
    if head.translate(None, _ALLOWED) or not head.count(b"\r") == head.count(b"\n") == len(lines):
        raise BadRequest("a control character is in the head")
    method, _, rest = first.partition(b" ")
    uri, _, version = rest.partition(b" ")
    if not (_TOKEN.fullmatch(method) and uri and b"\t" not in uri and _VERSION.fullmatch(version)):
        raise BadRequest("the first line must be a method, a path, and HTTP/1.1")
    if len(lines) > _MOST_HEADERS:
        raise HeadTooLong(f"there are more than {_MOST_HEADERS} headers")
    headers: dict[str, str] = {}
    for line in lines:
        raw_name, colon, raw_value = line.partition(b":")
        if not colon:
            raise BadRequest("a header has no colon")
        name = _kept_name(raw_name) if len(raw_name) <= _MOST_KEPT_NAME else _name(raw_name)
        value = raw_value.strip(b" \t").decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    request = Request(
        method.decode(),
        _origin_form(uri.decode("latin-1")),
        "HTTP/1.0" if version == b"HTTP/1.0" else "HTTP/1.1",
        headers,
        len(head),
    )
    _check_host(request)
    return request


def _origin_form(uri: str) -> str:
    """The path and query of an absolute URI, as clients send it to what they take for a proxy."""
    if uri.startswith("/"):
        return uri
    found = _ABSOLUTE.match(uri)
    rest = uri[found.end() :] if found else uri
    return f"/{rest}" if found and not rest.startswith("/") else rest


def _name(raw: bytes) -> str:
    if not _TOKEN.fullmatch(raw):
        raise BadRequest("a header has no valid name")
    return raw.decode().lower()


_kept_name = lru_cache(1024)(_name)


def _check_host(request: Request) -> None:
    """One host, as RFC 9112 (3.2) has it."""
    host = request.headers.get("host")
    if host is None:
        if request.version == "HTTP/1.1":
            raise BadRequest("the Host header is missing")
    elif not _HOST.fullmatch(host):
        raise BadRequest("the Host header is not one host")
