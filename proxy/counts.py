"""What is counted for a key and where: on this host, or on a server for several hosts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from proxy.keys import KeyLimits
from proxy.windows import Counter, Windows


@dataclass(frozen=True, slots=True)
class Taken:
    """What a key has used in the last minute, with the request that was counted just now.

    Where ``refused`` names a counter, its limit is reached, and the request was not counted;
    ``wait_seconds`` is how long that stays so at least.
    """

    requests: int
    tokens: int
    refused: Counter | None = None
    wait_seconds: int = 0


class Counts(Protocol):
    """Counts for the names of keys that have limits."""

    @property
    def is_away(self) -> bool | None:
        """Whether the server that counts is away; None if there is none."""

    async def take(self, name: str, limits: KeyLimits) -> Taken:
        """Count a request, if the limits allow it. Raises ``Unavailable`` if nobody can tell."""

    def give_back(self, name: str) -> None:
        """A request that was counted has not been served."""

    def add_tokens(self, name: str, tokens: int) -> None:
        """Count what an answer has cost."""

    def in_use_elsewhere(self, name: str) -> int:
        """How many requests of ``name`` are under way on other hosts."""

    async def close(self) -> None:
        """Let go of what is open."""


class HostCounts:
    """Counts in the memory that the workers of this host share."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows

    @property
    def is_away(self) -> None:
        """There is no server."""

    async def take(self, name: str, limits: KeyLimits) -> Taken:
        """Count a request, if the limits allow it."""
        windows = self._windows
        requests = tokens = 0
        if limits.tokens_per_minute:
            tokens = windows.count(name, Counter.TOKENS)
            if tokens >= limits.tokens_per_minute:
                wait = windows.wait_seconds(name, Counter.TOKENS, limits.tokens_per_minute)
                requests = windows.count(name, Counter.REQUESTS)
                return Taken(requests, tokens, Counter.TOKENS, wait)
        if limits.requests_per_minute:
            # Counted before it is looked at: workers that do so at once see each other's.
            windows.add(name, Counter.REQUESTS, 1)
            requests = windows.count(name, Counter.REQUESTS)
            if requests > limits.requests_per_minute:
                windows.add(name, Counter.REQUESTS, -1)
                wait = windows.wait_seconds(name, Counter.REQUESTS, limits.requests_per_minute)
                return Taken(requests - 1, tokens, Counter.REQUESTS, wait)
        return Taken(requests, tokens)

    def give_back(self, name: str) -> None:
        """A request that was counted has not been served."""
        self._windows.add(name, Counter.REQUESTS, -1)

    def add_tokens(self, name: str, tokens: int) -> None:
        """Count what an answer has cost."""
        self._windows.add(name, Counter.TOKENS, tokens)

    def in_use_elsewhere(self, name: str) -> int:
        """None: it knows of no other host."""
        return 0

    async def close(self) -> None:
        """Nothing is open."""
