"""Cuts a stream of JSON lines, or of server-sent events of one line each, into its payloads."""

from __future__ import annotations

from abc import abstractmethod

from proxy.dialects.base import Stream
from proxy.errors import UpstreamFailed
from proxy.sse import MAX_EVENT_BYTES

DONE = b"[DONE]"

# Fields of server-sent events that carry no payload; a comment's name is empty.
_OTHER_FIELDS = (b":", b"event:", b"id:", b"retry:")


class PayloadSplitter:
    """Finds the payloads, with or without ``data:`` before them and a space behind that."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that are whole now. Raises ``UpstreamFailed`` if one grows too large."""
        seen = len(self._buffer)
        self._buffer += data
        end = self._buffer.rfind(b"\n", seen) + 1
        if len(self._buffer) - end > MAX_EVENT_BYTES:
            raise UpstreamFailed(
                "the model's stream has no lines",
                log_message=f"a line of the stream is larger than {MAX_EVENT_BYTES} bytes",
            )
        if not end:
            return []
        lines = bytes(self._buffer[:end])
        del self._buffer[:end]
        return _payloads(lines)

    def flush(self) -> list[bytes]:
        """What is left when the stream has ended: a line that lacks its end."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return _payloads(rest)


class LineStream(Stream):
    """Reads a stream payload by payload; the mark of its end is none."""

    def __init__(self) -> None:
        super().__init__()
        self._splitter = PayloadSplitter()

    def _receive(self, payload: bytes) -> None:
        self._take_all(self._splitter.feed(payload))

    def _finish(self) -> None:
        self._take_all(self._splitter.flush())
        self._conclude()

    def _take_all(self, payloads: list[bytes]) -> None:
        for payload in payloads:
            if payload != DONE:
                self._take(payload)

    @abstractmethod
    def _take(self, payload: bytes) -> None:
        """Read one and ``_send`` what it makes. Raises ``ProxyError``."""

    @abstractmethod
    def _conclude(self) -> None:
        """``_send`` the end. Raises ``ProxyError``."""


def _payloads(lines: bytes) -> list[bytes]:
    stripped = (line.strip() for line in lines.split(b"\n"))
    payloads = (
        line.removeprefix(b"data:").lstrip()
        for line in stripped
        if not line.startswith(_OTHER_FIELDS)
    )
    return [payload for payload in payloads if payload]
