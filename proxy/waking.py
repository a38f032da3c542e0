"""Waits for models that are not awake: one call pokes such a model, the others wait for that one.

A call that finds no capacity is what makes SageMaker scale a model out. One does that as well as
thousands, which would only be throttled.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

from proxy.errors import ModelNotReady, ProxyError, Throttled
from proxy.log import log_fields

T = TypeVar("T")

logger = logging.getLogger(__name__)

# A client or a load balancer that hears nothing gives up, often after a minute.
_BEAT_SECONDS = 10.0

_FIRST_PAUSE_SECONDS = 0.5
_MOST_PAUSE_SECONDS = 5.0

# Calls of one model. Each holds its body, and all of them go on when the model is awake.
_MOST_WAITING = 1000


@dataclass(slots=True)
class Wait:
    """One call's waiting: what to do every ten seconds of it, and for how long it was so far."""

    beat: Callable[[], Awaitable[None]] | None = None
    seconds: float = 0.0


class Waking:
    """The models of one worker that are not awake. To be made inside a running loop."""

    def __init__(self, seconds: float) -> None:
        """A call waits for ``seconds`` at most."""
        self._seconds = seconds
        self._asleep: dict[str, _Sleeper] = {}

    async def call(self, name: str, attempt: Callable[[], Awaitable[T]], wait: Wait) -> T:
        """Call ``attempt`` when the model ``name`` is awake, and return what that does.

        Raises what ``attempt`` raises, and its ``ModelNotReady`` only if the model has not woken in
        time, or if too many wait already.
        """
        patience = _Patience(self._seconds, wait)
        while True:
            sleeper = self._asleep.get(name)
            if sleeper is None:
                try:
                    return await attempt()
                except ModelNotReady as error:
                    sleeper = self._asleep.setdefault(name, _Sleeper(name, error))
            with self._waiting(sleeper):
                while sleeper.is_poked and not sleeper.is_awake:
                    if not await patience.pause(sleeper.changed):
                        raise copy(sleeper.error)
                if not sleeper.is_awake:
                    return await self._poke(sleeper, attempt, patience)

    @contextmanager
    def _waiting(self, sleeper: _Sleeper) -> Iterator[None]:
        if sleeper.waiting >= _MOST_WAITING:
            raise copy(sleeper.error)
        sleeper.waiting += 1
        try:
            yield
        finally:
            sleeper.waiting -= 1
            if not sleeper.waiting:
                self._forget(sleeper)

    def _forget(self, sleeper: _Sleeper) -> None:
        if self._asleep.get(sleeper.name) is sleeper:
            del self._asleep[sleeper.name]

    async def _poke(
        self, sleeper: _Sleeper, attempt: Callable[[], Awaitable[T]], patience: _Patience
    ) -> T:
        """Try again and again, in place of all who wait."""
        sleeper.is_poked = True
        try:
            while True:
                most = min(_FIRST_PAUSE_SECONDS * 2**sleeper.pokes, _MOST_PAUSE_SECONDS)
                sleeper.pokes += 1
                if not await patience.pause(None, most * random.uniform(0.5, 1)):
                    raise copy(sleeper.error)
                try:
                    result = await attempt()
                except ModelNotReady as error:
                    sleeper.error = error
                except ProxyError as error:
                    # A refusal is the model's own answer, or says that there is none any more.
                    refused = error.status < HTTPStatus.INTERNAL_SERVER_ERROR
                    if refused and not isinstance(error, Throttled):
                        self._note_awake(sleeper)
                    raise
                else:
                    self._note_awake(sleeper)
                    return result
        finally:
            sleeper.is_poked = False
            sleeper.change()

    def _note_awake(self, sleeper: _Sleeper) -> None:
        sleeper.is_awake = True
        self._forget(sleeper)
        seconds = round(asyncio.get_running_loop().time() - sleeper.since, 1)
        fields = {"model": sleeper.name, "seconds": seconds, "requests": sleeper.waiting}
        log_fields(logger, logging.INFO, "a model is awake", **fields, pokes=sleeper.pokes)


class _Sleeper:
    """A model that is not awake, and the calls that wait for it."""

    def __init__(self, name: str, error: ModelNotReady) -> None:
        self.name = name
        self.error = error
        self.since = asyncio.get_running_loop().time()
        self.waiting = 0
        self.pokes = 0
        self.is_poked = False  # one of those that wait tries now and then
        self.is_awake = False
        self.changed = asyncio.Event()
        log_fields(logger, logging.INFO, "waiting for a model to wake", model=name)

    def change(self) -> None:
        """Have all that wait look again."""
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()


class _Patience:
    """The time that one call has, and its beats."""

    def __init__(self, seconds: float, wait: Wait) -> None:
        now = asyncio.get_running_loop().time()
        self._deadline = now + seconds
        self._next_beat = now + _BEAT_SECONDS
        self._wait = wait

    async def pause(self, event: asyncio.Event | None, seconds: float = math.inf) -> bool:
        """Wait for ``event``, or for so long; False when there is no more time."""
        loop = asyncio.get_running_loop()
        event = event or asyncio.Event()
        began = loop.time()
        until = min(began + seconds, self._deadline)
        try:
            while not event.is_set() and (now := loop.time()) < until:
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(until, self._next_beat) - now):
                        await event.wait()
                if loop.time() >= self._next_beat:
                    self._next_beat += _BEAT_SECONDS
                    if self._wait.beat is not None:
                        await self._wait.beat()
        finally:
            self._wait.seconds += loop.time() - began
        return event.is_set() or loop.time() < self._deadline
