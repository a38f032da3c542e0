"""HTTP/1.1 responses out of the bytes that arrive (RFC 9112)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from proxy.http_chunks import BadChunk, Chunks

MOST_HEAD_BYTES = 64 * 1024
_MOST_LENGTH_DIGITS = 18

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

# What a value may not hold is read as a space, so that it can be passed on.
_SPACES = bytes.maketrans(_CONTROLS := bytes({*range(32), 127} - {9}), b" " * len(_CONTROLS))


class BadResponse(ValueError):
    """What has arrived is no HTTP/1.1 response."""


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers: names in lower case, values as Latin-1, several of a name joined."""

    status: int
    headers: dict[str, str]


class _Expects(Enum):
    HEAD = auto()
    BODY = auto()  # of a known length
    END = auto()  # of the connection, which ends the body
    CHUNKS = auto()
    NOTHING = auto()


class ResponseReader:
    """Reads the one response to a request that is not HEAD."""

    __slots__ = ("_chunks", "_expects", "_left", "_pending", "head", "keeps_alive")

    def __init__(self) -> None:
        self.head: Head | None = None  # until it is here as a whole
        self.keeps_alive = False  # whether the connection can be used again, once this is whole
        self._expects = _Expects.HEAD
        self._left = 0  # bytes of the body
        self._chunks = Chunks()
        self._pending = b""  # the beginning of the head

    @property
    def is_whole(self) -> bool:
        """Whether all of it has arrived."""
        return self._expects is _Expects.NOTHING

    def feed(self, data: bytes) -> bytes:
        """Take what has arrived; returns what of it is the body's. Raises ``BadResponse``."""
        if self._expects is _Expects.HEAD:
            data = self._feed_head(data)
        if self._expects is _Expects.BODY:
            return self._feed_body(data)
        if self._expects is _Expects.END:
            return data
        if self._expects is _Expects.NOTHING:
            if data:
                self.keeps_alive = False  # nobody has asked for more
            return b""
        return b"" if self._expects is _Expects.HEAD else self._feed_chunks(data)

    def end(self) -> None:
        """The connection has ended. Raises ``BadResponse`` if the response is not whole by that."""
        if self._expects is _Expects.END:
            self._expects = _Expects.NOTHING
        elif self._expects is not _Expects.NOTHING:
            raise BadResponse("the connection ended in the middle of the response")

    def _feed_head(self, data: bytes) -> bytes:
        """Returns what is behind the head."""
        data = self._pending + data if self._pending else data
        while True:
            end = data.find(b"\r\n\r\n")
            if max(end, 0 if end >= 0 else len(data)) > MOST_HEAD_BYTES:
                raise BadResponse("the headers are too long")
            if end < 0:
                self._pending = data
                return b""
            status, version, headers = _parse_head(data[:end])
            data = data[end + 4 :]
            if status >= 200:
                break  # else it is about to come
            if status < 100 or status == 101:
                raise BadResponse("the response has a status of which nobody has asked")
        self._pending = b""
        self._expect_body(status, version, headers)
        self.head = Head(status, headers)
        return data

    def _expect_body(self, status: int, version: bytes, headers: dict[str, str]) -> None:
        options = headers.get("connection", "").lower()
        self.keeps_alive = version == b"HTTP/1.1" and "close" not in options
        length, coding = headers.get("content-length"), headers.get("transfer-encoding")
        if status == 204 or coding is not None:
            headers.pop("content-length", None)  # it says nothing
        if status in (204, 304):
            self._expects = _Expects.NOTHING
        elif coding is not None:
            if coding.lower() != "chunked":
                raise BadResponse("the response has a transfer coding of which nobody has asked")
            self._expects = _Expects.CHUNKS
            self.keeps_alive = self.keeps_alive and length is None
        elif length is not None:
            is_number = length.isascii() and length.isdecimal()
            if not is_number or len(length) > _MOST_LENGTH_DIGITS:
                raise BadResponse("the response has no valid length")
            self._left = int(length)
            self._expects = _Expects.BODY if self._left else _Expects.NOTHING
        else:
            self._expects = _Expects.END
            self.keeps_alive = False

    def _feed_body(self, data: bytes) -> bytes:
        size = len(data)
        if size < self._left:
            self._left -= size
            return data
        self._expects = _Expects.NOTHING
        if size > self._left:
            self.keeps_alive = False
            data = data[: self._left]
        return data

    def _feed_chunks(self, data: bytes) -> bytes:
        try:
            body = self._chunks.feed(data)
        except BadChunk as exc:
            raise BadResponse(f"of the response, {exc}") from None
        if self._chunks.is_whole:
            self._expects = _Expects.NOTHING
            self.keeps_alive = self.keeps_alive and not self._chunks.rest
        return body


def _parse_head(head: bytes) -> tuple[int, bytes, dict[str, str]]:
    first, *lines = head.split(b"\r\n")
    version, _, rest = first.partition(b" ")
    status = rest[:3]
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or not status.isdigit() or rest[3:4].strip():
        raise BadResponse("the response has no status")
    headers: dict[str, str] = {}
    for line in lines:
        raw_name, colon, raw_value = line.partition(b":")
        if not colon or not _TOKEN.fullmatch(raw_name):
            raise BadResponse("the response has a header without a name")
        name = raw_name.decode("latin-1").lower()
        value = raw_value.translate(_SPACES).strip(b" \t").decode("latin-1")
        if name in headers:
            if name == "content-length" and headers[name] == value:
                continue
            value = f"{headers[name]}, {value}"
        headers[name] = value
    return int(status), version, headers
