"""How many requests a worker has under way; others wait their turn, key by key, or are refused.

Keys take turns, so one key's flood does not hold up another. A key may have as many requests wait
as places are left beside them: the fuller the queue, the fewer for each, and one is always left for
a key that has none there.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable

# How often to look whether another worker has let a request of a key go.
_POLL_SECONDS = 0.02


class QueueFull(Exception):
    """No place is left to wait, or none was reached in time."""


class Gate:
    """To be made inside a running loop."""

    def __init__(
        self,
        most: int,
        most_waiting: int,
        wait_seconds: float,
        enter: Callable[[str], bool],
        leave: Callable[[str], None],
    ) -> None:
        """``most`` are let in at once, ``most_waiting`` wait, each for ``wait_seconds`` at most.

        ``enter`` says whether a name's own bound has room for one more, and takes that; ``leave``
        gives it back.
        """
        self._most = most
        self._most_waiting = most_waiting
        self._wait_seconds = wait_seconds
        self._enter = enter
        self._leave = leave
        self._inside = 0
        self._waiting = 0
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._poll: asyncio.TimerHandle | None = None

    @property
    def inside(self) -> int:
        """How many are let in now."""
        return self._inside

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return self._waiting

    @property
    def is_full(self) -> bool:
        """Whether the worker's own bound is reached."""
        return self._inside >= self._most

    async def enter(self, name: str) -> None:
        """Return when a request of ``name`` may go on; ``leave`` has to follow.

        Raises ``QueueFull``.
        """
        queue = self._queues.get(name)
        if queue is None and self._take(name):
            return
        if len(queue or ()) >= self._most_waiting - self._waiting:
            raise QueueFull
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue = self._queues.setdefault(name, deque())
        queue.append(turn)
        self._waiting += 1
        self._look_again()
        try:
            await asyncio.wait((turn,), timeout=self._wait_seconds)
        except asyncio.CancelledError:
            if turn.done():
                self.leave(name)
            else:
                self._withdraw(name, turn)
            raise
        if not turn.done():
            self._withdraw(name, turn)
            raise QueueFull

    def leave(self, name: str) -> None:
        """A request of ``name`` that was let in has ended."""
        self._inside -= 1
        self._leave(name)
        self._admit()

    def _take(self, name: str) -> bool:
        if self.is_full or not self._enter(name):
            return False
        self._inside += 1
        return True

    def _admit(self) -> None:
        """Let in whoever can be, a request of each key in turn."""
        stuck = 0  # keys in a row that are at their own bound
        while stuck < len(self._queues) and not self.is_full:
            name, queue = next(iter(self._queues.items()))
            if self._take(name):
                stuck = 0
                self._waiting -= 1
                queue.popleft().set_result(None)
            else:
                stuck += 1
            if queue:
                self._queues.move_to_end(name)
            else:
                del self._queues[name]

    def _withdraw(self, name: str, turn: asyncio.Future[None]) -> None:
        queue = self._queues[name]
        queue.remove(turn)
        self._waiting -= 1
        if not queue:
            del self._queues[name]

    def _look_again(self) -> None:
        if self._poll is None:
            self._poll = asyncio.get_running_loop().call_later(_POLL_SECONDS, self._look)

    def _look(self) -> None:
        self._poll = None
        self._admit()
        if self._queues:
            self._look_again()
