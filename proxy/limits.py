"""What each key may use: requests and tokens a minute, and requests at once, over all workers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from proxy.config import LimitsConfig
from proxy.counts import Counts, Taken
from proxy.errors import Overloaded, ProxyError, RateLimited
from proxy.gate import Gate, QueueFull
from proxy.keys import NO_LIMITS, Caller, KeyLimits
from proxy.metrics import Metrics
from proxy.windows import Counter, Windows

# A place may be free again at any moment.
_RETRY_SECONDS = "1"


class Limits:
    """The limits as one worker keeps them. To be made inside a running loop."""

    def __init__(
        self,
        config: LimitsConfig,
        windows: Windows,
        counts: Counts,
        callers: Iterable[Caller],
        metrics: Metrics,
    ) -> None:
        """``windows`` has a place for each of ``callers`` that has a limit."""
        self._windows = windows
        self._counts = counts
        self._metrics = metrics
        self._at_once = {each.name: each.limits.max_concurrent for each in callers}
        self.gate = Gate(
            config.max_concurrent,
            config.max_queued,
            config.queue_seconds,
            self._enter,
            self._leave,
        )

    @property
    def is_backend_up(self) -> bool | None:
        """Whether the server that counts for several hosts is there; None if none is configured."""
        is_away = self._counts.is_away
        return None if is_away is None else not is_away

    async def close(self) -> None:
        """Let go of what is open."""
        await self._counts.close()

    async def take(self, caller: Caller) -> dict[str, str]:
        """Count a request of ``caller``; the headers that tell what is left of its limits.

        Raises ``RateLimited``, and ``Unavailable`` if nobody can tell.
        """
        limits = caller.limits
        if limits == NO_LIMITS:
            return {}
        taken = await self._counts.take(caller.name, limits)
        if taken.refused is not None:
            self._metrics.limited("tokens" if taken.refused is Counter.TOKENS else "requests")
            raise _refusal(caller.name, limits, taken, taken.refused)
        return dict(_headers(limits, taken))

    def count_tokens(self, caller: Caller, tokens: int) -> None:
        """Count what an answer has cost."""
        if caller.limits.tokens_per_minute:
            self._counts.add_tokens(caller.name, tokens)

    async def enter(self, caller: Caller) -> None:
        """Return when a request of ``caller`` may go on; ``gate.leave`` has to follow.

        Raises ``RateLimited`` and ``Overloaded``.
        """
        try:
            await self.gate.enter(caller.name)
        except QueueFull:
            if caller.limits.requests_per_minute:
                self._counts.give_back(caller.name)
            raise self._no_place(caller) from None

    def _enter(self, name: str) -> bool:
        most = self._at_once.get(name)
        if not most:
            return True
        self._windows.enter(name)
        if self._windows.in_use(name) + self._counts.in_use_elsewhere(name) <= most:
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
            self._metrics.limited("overload")
            return Overloaded("the server has all the requests that it takes", headers=headers)
        self._metrics.limited("concurrency")
        return RateLimited(
            f"the key {caller.name!r} has its {most} requests at once", headers=headers
        )


def _headers(limits: KeyLimits, taken: Taken) -> Iterator[tuple[str, str]]:
    """What is left, as OpenAI's headers tell it; what was used a moment ago is free in a minute."""
    for what, limit, used in (
        ("requests", limits.requests_per_minute, taken.requests),
        ("tokens", limits.tokens_per_minute, taken.tokens),
    ):
        if limit:
            yield f"x-ratelimit-limit-{what}", str(limit)
            yield f"x-ratelimit-remaining-{what}", str(max(limit - used, 0))
            yield f"x-ratelimit-reset-{what}", "1m0s" if used else "0s"


def _refusal(name: str, limits: KeyLimits, taken: Taken, reached: Counter) -> RateLimited:
    what = reached.name.lower()
    limit = getattr(limits, f"{what}_per_minute")
    seconds = max(taken.wait_seconds, 1)
    return RateLimited(
        f"the key {name!r} has used its {limit} {what} a minute; try again in {seconds} s",
        headers={"Retry-After": str(seconds), **dict(_headers(limits, taken))},
    )
