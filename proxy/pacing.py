"""How soon one more may go on, of what shall not take more than its share of the processor."""

from __future__ import annotations


class Pace:
    """Lets so many a second go on; those that come faster are told how long to wait.

    None waits longer than ``most_seconds``: where that many wait, the pace is exceeded.
    """

    def __init__(self, per_second: float, most_seconds: float) -> None:
        """What was not used of the last second may be used at once."""
        self._interval = 1.0 / per_second
        self._most_seconds = most_seconds
        self._next = 0.0  # when the one that comes next has its turn

    def turn(self, now: float) -> float:
        """Seconds from ``now`` until one more may go on; 0 for at once."""
        self._next = max(self._next, now - 1.0)
        wait = self._next - now
        if wait > self._most_seconds:
            return self._most_seconds
        self._next += self._interval
        return max(wait, 0.0)
