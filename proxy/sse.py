"""Server-sent events: cut a byte stream into whole events, and write one.

Source: "Server-sent events" in the WHATWG HTML standard. A line ends with CRLF, LF or CR; an
event ends with an empty line.
"""

from __future__ import annotations

import re

MAX_EVENT_BYTES = 8 * 1024 * 1024

# The end of a line and the empty line after it. Atomic, so that a CRLF is never taken for two ends.
_BOUNDARY = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")


class EventTooLarge(ValueError):
    """An event has grown over ``MAX_EVENT_BYTES`` without ending."""


class EventSplitter:
    """Cuts a stream into whole events, bytes as they came."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._has_cr = False

    def feed(self, data: bytes) -> bytes:
        """Return all whole events now at hand, end to end; empty when there is none yet.

        A CR that ends the data is not yet known to be a line's end or half of one, so it waits.
        Raises ``EventTooLarge``.
        """
        buffer = self._buffer
        # The new data can complete a boundary that began up to three bytes before it.
        seen = max(len(buffer) - 3, 0)
        buffer += data
        self._has_cr = self._has_cr or b"\r" in data
        end = _last_boundary(buffer, seen) if self._has_cr else buffer.rfind(b"\n\n", seen) + 2
        if end < 2:  # rfind found none
            end = 0
        if len(buffer) - end > MAX_EVENT_BYTES:
            raise EventTooLarge(f"an event is larger than {MAX_EVENT_BYTES} bytes")
        events = bytes(buffer[:end])
        del buffer[:end]
        return events

    def flush(self) -> bytes:
        """Return what is left when the stream has ended: an event that lacks its empty line."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest


def _last_boundary(buffer: bytearray, seen: int) -> int:
    end = 0
    for match in _BOUNDARY.finditer(buffer, seen):
        if match.end() < len(buffer) or not match.group().endswith(b"\r"):
            end = match.end()
    return end


def event(data: bytes) -> bytes:
    """One event that carries ``data``, which must hold no line end."""
    return b"data: " + data + b"\n\n"
