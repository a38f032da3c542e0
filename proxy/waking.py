"""Waits for models that are not awake: one call at a time pokes such a model, the others wait.

A call that finds no capacity is what makes SageMaker scale a model out. One does that as well as
thousands, which would only be throttled. A refusal comes at once, so when a call is not refused
for a while, the next ones follow, twice as many each time.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from copy import copy
from typing import TypeVar

from proxy.errors import ModelNotFound, ModelNotReady, ProxyError, Throttled
from proxy.log import log_fields
from proxy.metrics import Metrics
from proxy.patience import Patience, Wait

T = TypeVar("T")

logger = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 0.5
_MOST_PAUSE_SECONDS = 5.0

# In the time that a call waits.
_FEWEST_TURNS = 4

# Between the calls that go on once the model is awake. Thousands at once would be throttled.
_AWAKE_PAUSE_SECONDS = 0.05

# Calls of one model. Each holds its body.
_MOST_WAITING = 1000

# One refusal may be a slip of SageMaker's. From the second on, calls wait before they try.
_SURE_REFUSALS = 2

# What nobody has called for so long, though it was time to, is as if it had never been called.
_STALE_SECONDS = 30.0

_MOST_SLEEPERS = 1000


class Waking:
    """The models of one worker that are not awake. To be made inside a running loop."""

    def __init__(self, seconds: float, metrics: Metrics) -> None:
        """A call waits for ``seconds`` at most."""
        self._seconds = seconds
        self._metrics = metrics
        self._asleep: dict[str, _Sleeper] = {}

    def __len__(self) -> int:
        """How many models are known to be asleep."""
        return len(self._asleep)

    async def call(self, name: str, attempt: Callable[[], Awaitable[T]], wait: Wait | None) -> T:
        """Call ``attempt`` when the model ``name`` is awake, and return what that does.

        Raises what ``attempt`` raises; its ``ModelNotReady`` only if the model has not woken in
        time, if too many wait already, or if there is no ``wait``.
        """
        sleeper = self._find(name)
        if sleeper is None or sleeper.may_be_tried(waits=wait is not None):
            try:
                return await self._try(name, attempt)
            except ModelNotReady as error:
                if wait is None:
                    raise
                error.__traceback__ = None  # whose frames hold it
                sleeper = self._asleep.get(name)
        elif wait is None:
            raise copy(sleeper.error)
        if sleeper is not None and len(sleeper.waiting) >= _MOST_WAITING:
            raise copy(sleeper.error)
        with self._counted():
            patience = Patience(self._seconds, wait)
            while True:
                if sleeper is not None:  # else another call has just been answered
                    await sleeper.turn(patience)
                try:
                    return await patience.during(self._try(name, attempt))
                except ModelNotReady as error:
                    error.__traceback__ = None  # whose frames hold it
                    sleeper = self._asleep.get(name)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """A call waits meanwhile."""
        began = asyncio.get_running_loop().time()
        self._metrics.wait_began()
        try:
            yield
        finally:
            self._metrics.wait_ended(asyncio.get_running_loop().time() - began)

    def _find(self, name: str) -> _Sleeper | None:
        sleeper = self._asleep.get(name)
        if sleeper is not None and sleeper.is_stale:
            del self._asleep[name]
            return None
        return sleeper

    async def _try(self, name: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Call ``attempt``, and take what comes of it as a sign of sleep or of life."""
        sleeper = self._asleep.get(name)
        try:
            if sleeper is None:
                result = await attempt()
            else:
                with sleeper.trying():
                    result = await attempt()
        except ModelNotReady as error:
            self._note_asleep(name, error)
            raise
        except ProxyError as error:
            # A refusal is the model's own answer, or says that there is none any more.
            if error.refusal is not None and not isinstance(error, Throttled):
                self._note_awake(name, is_there=not isinstance(error, ModelNotFound))
            raise
        self._note_awake(name)
        return result

    def _note_asleep(self, name: str, error: ModelNotReady) -> None:
        sleeper = self._asleep.get(name)
        if sleeper is None:
            idle = [name for name, each in self._asleep.items() if not each.waiting]
            for each in idle[: max(len(self._asleep) - _MOST_SLEEPERS + 1, 0)]:
                del self._asleep[each]
            most = min(_MOST_PAUSE_SECONDS, self._seconds / _FEWEST_TURNS)
            sleeper = self._asleep[name] = _Sleeper(error, most)
            log_fields(logger, logging.INFO, "waiting for a model to wake", model=name)
        sleeper.refuse(error)

    def _note_awake(self, name: str, *, is_there: bool = True) -> None:
        sleeper = self._asleep.pop(name, None)
        if sleeper is None:
            return
        if is_there:
            seconds = round(asyncio.get_running_loop().time() - sleeper.since, 1)
            fields = {"model": name, "seconds": seconds, "requests": len(sleeper.waiting)}
            log_fields(logger, logging.INFO, "a model is awake", **fields, pokes=sleeper.pokes)
        sleeper.wake()


class _Sleeper:
    """A model that is not awake, and the calls that wait for their turn to try it."""

    def __init__(self, error: ModelNotReady, most_pause: float) -> None:
        self.error = error
        self._most_pause = most_pause
        self.since = asyncio.get_running_loop().time()
        self.pokes = 0
        self.waiting: dict[asyncio.Future[None], None] = {}  # in order
        self._refusals = 0
        self._trying = 0
        self._batch = 1
        self._is_awake = False
        self._next = self.since + self._pause()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_stale(self) -> bool:
        """Whether nobody has tried for long."""
        now = asyncio.get_running_loop().time()
        return not self.waiting and now > self._next + _STALE_SECONDS

    def refuse(self, error: ModelNotReady) -> None:
        """A call was refused: from now on, one at a time."""
        # As it was raised, it holds the whole request, and this may be kept for long.
        self.error = copy(error)
        self._refusals += 1
        self._batch = 1

    @contextmanager
    def trying(self) -> Iterator[None]:
        """A call is made meanwhile."""
        self._trying += 1
        try:
            yield
        finally:
            self._trying -= 1

    def wake(self) -> None:
        """All that wait may go on, soon."""
        self._is_awake = True
        if self._timer is not None:
            self._timer.cancel()
        self._grant()

    def may_be_tried(self, *, waits: bool) -> bool:
        """Whether a call that has just come, and ``waits`` if it is refused, may try at once."""
        if self._refusals < _SURE_REFUSALS:
            return True
        if waits:
            return not (self.waiting or self._trying)
        now = asyncio.get_running_loop().time()
        if now < self._next:
            return False
        self.pokes += 1
        self._next = now + self._pause()
        return True

    async def turn(self, patience: Patience) -> None:
        """Return when the caller is to try. Raises ``ModelNotReady`` when it has no more time."""
        turn = asyncio.get_running_loop().create_future()
        self.waiting[turn] = None
        self._schedule()
        try:
            if not await patience.wait(turn):
                raise copy(self.error)
        finally:
            self.waiting.pop(turn, None)

    def _schedule(self) -> None:
        if self._timer is None and self.waiting:
            self._timer = asyncio.get_running_loop().call_at(self._next, self._grant)

    def _grant(self) -> None:
        self._timer = None
        for turn in list(self.waiting)[: self._batch]:
            del self.waiting[turn]
            turn.set_result(None)
        self.pokes += 1
        self._batch *= 2
        self._next = asyncio.get_running_loop().time() + self._pause()
        self._schedule()

    def _pause(self) -> float:
        if self._is_awake:
            return _AWAKE_PAUSE_SECONDS
        most = min(_FIRST_PAUSE_SECONDS * 2.0 ** min(self.pokes, 10), self._most_pause)
        return most * random.uniform(0.5, 1)
