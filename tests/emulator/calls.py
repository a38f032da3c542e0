"""Remembers the calls that reached the runtime, and the callers that left in the middle."""

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

_MOST_CALLS = 1_000
_MOST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Call:
    """One accepted call: what was asked of which endpoint, and when (`time.monotonic`)."""

    endpoint: str
    operation: str
    headers: Mapping[str, str]
    body: bytes
    arrived: float


class CallLog:
    """The newest calls, bounded in number and bytes; safe to read from any thread."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque()
        self._bytes = 0
        self._departures: deque[tuple[str, float]] = deque(maxlen=_MOST_CALLS)
        self._changed = threading.Condition()

    def add(self, call: Call) -> None:
        """Record a call, forgetting the oldest where there are too many."""
        with self._changed:
            self._calls.append(call)
            self._bytes += len(call.body)
            while len(self._calls) > _MOST_CALLS or self._bytes > _MOST_BYTES:
                self._bytes -= len(self._calls.popleft().body)

    def of(self, endpoint: str) -> list[Call]:
        """Return the calls to one endpoint, oldest first."""
        with self._changed:
            return [call for call in self._calls if call.endpoint == endpoint]

    def add_departure(self, endpoint: str) -> None:
        """Record that a caller left before it had its whole answer."""
        with self._changed:
            self._departures.append((endpoint, time.monotonic()))
            self._changed.notify_all()

    def wait_for_departure(self, endpoint: str, timeout: float) -> float:
        """Return when the next caller left, once for each; TimeoutError if none did."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._first(endpoint) is not None, timeout):
                raise TimeoutError(f"no caller of {endpoint} left within {timeout} s")
            departure = self._first(endpoint)
            assert departure is not None
            self._departures.remove(departure)
            return departure[1]

    def _first(self, endpoint: str) -> tuple[str, float] | None:
        return next((item for item in self._departures if item[0] == endpoint), None)
