"""The chunks of a body in HTTP/1.1 (RFC 9112, 7.1), out of the bytes that arrive."""

from __future__ import annotations

from enum import Enum, auto

_MOST_SIZE_LINE_BYTES = 1024
_MOST_TRAILER_BYTES = 64 * 1024

_HEX = frozenset(b"0123456789abcdefABCDEF")
_MOST_SIZE_DIGITS = 16


class BadChunk(ValueError):
    """What has arrived is no chunk."""


class _Expects(Enum):
    SIZE = auto()  # of the next chunk
    CHUNK = auto()
    CHUNK_END = auto()
    TRAILERS = auto()
    NOTHING = auto()


class Chunks:
    """Reads one body. Extensions and trailers are not looked at."""

    __slots__ = ("_expects", "_left", "_pending", "rest")

    def __init__(self) -> None:
        self.rest = b""  # what has arrived behind the end
        self._expects = _Expects.SIZE
        self._left = 0  # bytes of the chunk, or of trailers so far
        self._pending = b""  # the beginning of a line

    @property
    def is_whole(self) -> bool:
        """Whether all of it has arrived."""
        return self._expects is _Expects.NOTHING

    def feed(self, data: bytes) -> bytes:
        """Take what has arrived; returns what of it is the body. Raises ``BadChunk``."""
        if self._pending:
            data = self._pending + data
            self._pending = b""
        parts: list[bytes] = []
        at, size = 0, len(data)
        while at < size and self._expects is not _Expects.NOTHING:
            if self._expects is _Expects.CHUNK:
                part = data[at : at + self._left]
                parts.append(part)
                at += len(part)
                self._left -= len(part)
                if not self._left:
                    self._expects = _Expects.CHUNK_END
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                self._keep(data[at:])
                break
            self._take_line(data[at:end])
            at = end + 2
        if self._expects is _Expects.NOTHING:
            self.rest = data[at:]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _keep(self, line: bytes) -> None:
        is_trailer = self._expects is _Expects.TRAILERS
        most = _MOST_TRAILER_BYTES if is_trailer else _MOST_SIZE_LINE_BYTES
        if len(line.removesuffix(b"\r")) > most:
            raise BadChunk("a line is too long")
        self._pending = line

    def _take_line(self, line: bytes) -> None:
        """A whole line between chunks or behind them."""
        if b"\r" in line or b"\n" in line:
            raise BadChunk("a line has a line end inside")
        if self._expects is _Expects.SIZE:
            if len(line) > _MOST_SIZE_LINE_BYTES:
                raise BadChunk("a line is too long")
            size, extension, _ = line.partition(b";")
            digits = size.rstrip(b" \t") if extension else size
            if not digits or len(digits) > _MOST_SIZE_DIGITS or not _HEX.issuperset(digits):
                raise BadChunk("a chunk has no size")
            self._left = int(digits, 16)
            self._expects = _Expects.CHUNK if self._left else _Expects.TRAILERS
        elif self._expects is _Expects.CHUNK_END:
            if line:
                raise BadChunk("a chunk is longer than its size")
            self._expects = _Expects.SIZE
        elif not line:
            self._expects = _Expects.NOTHING
        else:
            self._left += len(line)
            if self._left > _MOST_TRAILER_BYTES:
                raise BadChunk("the trailers are too long")
