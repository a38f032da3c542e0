"""What each key may use: requests and tokens a minute, and requests at once, over all workers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from proxy.config import LimitsConfig
from proxy.errors import Overloaded, ProxyError, RateLimited
from proxy.gate import Gate, QueueFull
from proxy.keys import Caller
from proxy.windows import Counter, Windows

# A place may be free again at any moment.
_RETRY_SECONDS = "1"


@dataclass(frozen=True, slots=True)
class Standing:
    """How much of a limit a key has used in the last minute."""

    counter: Counter
    limit: int
    used: int

    def headers(self) -> Iterator[tuple[str, str]]:
        """It as OpenAI's headers tell it; what was used a moment ago is free in a minute."""
        what = self.counter.name.lower()
        yield f"x-ratelimit-limit-{what}", str(self.limit)
        yield f"x-ratelimit-remaining-{what}", str(max(self.limit - self.used, 0))
        yield f"x-ratelimit-reset-{what}", "1m0s" if self.used else "0s"


class Limits:
    """The limits as one worker keeps them. To be made inside a running loop."""

    def __init__(self, config: LimitsConfig, windows: Windows, callers: Iterable[Caller]) -> None:
        """``windows`` has a place for each of ``callers`` that has a limit."""
        self._windows = windows
        self._at_once = {each.name: each.limits.max_concurrent for each in callers}
        self.gate = Gate(
            config.max_concurrent,
            config.max_queued,
            config.queue_seconds,
            self._enter,
            self._leave,
        )

    def take(self, caller: Caller) -> list[Standing]:
        """Count a request of ``caller``. Raises ``RateLimited``, and then has not counted it."""
        name, limits = caller.name, caller.limits
        standings = []
        if limits.tokens_per_minute:
            used = self._windows.count(name, Counter.TOKENS)
            standings.append(Standing(Counter.TOKENS, limits.tokens_per_minute, used))
            if used >= limits.tokens_per_minute:
                raise self._refusal(caller, standings)
        if limits.requests_per_minute:
            # Counted before it is looked at: workers that do so at once see each other's.
            self._windows.add(name, Counter.REQUESTS, 1)
            used = self._windows.count(name, Counter.REQUESTS)
            standings.append(Standing(Counter.REQUESTS, limits.requests_per_minute, used))
            if used > limits.requests_per_minute:
                self.give_back(caller)
                raise self._refusal(caller, standings)
        return standings

    def give_back(self, caller: Caller) -> None:
        """A request that was counted has not been served."""
        if caller.limits.requests_per_minute:
            self._windows.add(caller.name, Counter.REQUESTS, -1)

    def count_tokens(self, caller: Caller, tokens: int) -> None:
        """Count what an answer has cost."""
        if caller.limits.tokens_per_minute:
            self._windows.add(caller.name, Counter.TOKENS, tokens)

    async def enter(self, caller: Caller) -> None:
        """Return when a request of ``caller`` may go on; ``gate.leave`` has to follow.

        Raises ``RateLimited`` and ``Overloaded``.
        """
        try:
            await self.gate.enter(caller.name)
        except QueueFull:
            self.give_back(caller)
            raise self._no_place(caller) from None

    def _enter(self, name: str) -> bool:
        most = self._at_once.get(name)
        if not most:
            return True
        self._windows.enter(name)
        if self._windows.in_use(name) <= most:
            return True
        self._windows.leave(name)
        return False

    def _leave(self, name: str) -> None:
        if self._at_once.get(name):
            self._windows.leave(name)

    def _no_place(self, caller: Caller) -> ProxyError:
        headers = {"Retry-After": _RETRY_SECONDS}
        most = caller.limits.max_concurrent
        if self.gate.is_full or not most:
            return Overloaded("the server has all the requests that it takes", headers=headers)
        return RateLimited(
            f"the key {caller.name!r} has its {most} requests at once", headers=headers
        )

    def _refusal(self, caller: Caller, standings: list[Standing]) -> RateLimited:
        reached = standings[-1]
        wait = self._windows.wait_seconds(caller.name, reached.counter, reached.limit)
        headers = {"Retry-After": str(max(wait, 1))}
        for standing in standings:
            headers.update(standing.headers())
        return RateLimited(
            f"the key {caller.name!r} has used its {reached.limit} "
            f"{reached.counter.name.lower()} a minute; try again in {max(wait, 1)} s",
            headers=headers,
        )
