"""One call's time to wait, and what is done meanwhile so that its client goes on waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

# A client or a load balancer that hears nothing gives up, often after a minute.
_BEAT_SECONDS = 10.0


@dataclass(slots=True)
class Wait:
    """A request's waiting: whom to tell, what to do every ten seconds, and how long it was so far.

    ``began`` is called for each of the request's calls that begins to wait.
    """

    beat: Callable[[], Awaitable[None]] | None = None
    began: Callable[[], None] | None = None
    seconds: float = 0.0


class Patience:
    """The time that one call has to wait, and its beats, which go on while it tries."""

    def __init__(self, seconds: float, wait: Wait) -> None:
        self._began = asyncio.get_running_loop().time()
        self._deadline = self._began + seconds
        self._next_beat = self._began + _BEAT_SECONDS
        self._wait = wait
        if wait.began is not None:
            wait.began()

    async def wait(self, turn: asyncio.Future[None]) -> bool:
        """Wait for ``turn``; False when there is no more time."""
        return await self._beat_until(turn, self._deadline)

    async def during(self, attempt: Awaitable[T]) -> T:
        """What ``attempt`` returns or raises."""
        trying = asyncio.ensure_future(attempt)
        try:
            await self._beat_until(trying, None)
        except BaseException:
            trying.cancel()
            trying.add_done_callback(_let_go)
            raise
        return trying.result()

    async def _beat_until(self, done: asyncio.Future[T], deadline: float | None) -> bool:
        loop = asyncio.get_running_loop()
        try:
            while not done.done() and (deadline is None or loop.time() < deadline):
                until = self._next_beat if deadline is None else min(deadline, self._next_beat)
                await asyncio.wait((done,), timeout=max(until - loop.time(), 0))
                if loop.time() >= self._next_beat and not done.done():
                    self._next_beat += _BEAT_SECONDS
                    if self._wait.beat is not None:
                        await self._wait.beat()
        finally:
            # Those that wait at once for the same request wait as long as one.
            self._wait.seconds = max(self._wait.seconds, loop.time() - self._began)
        return done.done()


def _let_go(tried: asyncio.Future[Any]) -> None:
    """What came as nobody waited any more may hold a connection."""
    if not tried.cancelled() and tried.exception() is None:
        close = getattr(tried.result(), "close", None)
        if close is not None:
            close()
