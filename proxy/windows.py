"""Counts by name, of the last minute and of this moment, that all workers of a host share.

Each worker writes a file of its own, its column, and adds up what is in all of them. So nothing is
locked while requests are served, and a worker that dies leaves nothing half done. The columns
belong to the supervisor's folder and outlive the workers: a new one goes on where another ended.

A column is an array of unsigned 32-bit numbers: how many are in use now, for each name; then, for
each name, a record of its last second and of what was counted in each of its last seconds.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from pathlib import Path

from proxy.reserving import reserve

# Names for which something is counted, over the life of the service.
CAPACITY = 1 << 18

_SECONDS = 60

# A power of two that holds a minute, the second that has begun, and some that are written next.
_RING = 64
_MASK = _RING - 1

_WORD = 4
_HEAD_WORDS = 4  # the last second, then unused
_RECORD_WORDS = _HEAD_WORDS + 2 * _RING
_COLUMN_BYTES = _WORD * CAPACITY * (1 + _RECORD_WORDS)

_NAMES = "names"
_DIGEST_BYTES = 16
_NAMES_HEAD_BYTES = 64  # how many columns there have been; the host's name; then unused
_HOST = slice(16, 32)
_NAMES_BYTES = _NAMES_HEAD_BYTES + _DIGEST_BYTES * CAPACITY
_NO_NAME = bytes(_DIGEST_BYTES)


class WindowsFull(Exception):
    """More names than there is room for."""


class Counter(IntEnum):
    """What is counted."""

    REQUESTS = 0
    TOKENS = 1


class Windows:
    """The counts as one worker sees and changes them. No call waits for another worker."""

    def __init__(self, directory: Path, column: int, names: Iterable[str]) -> None:
        """``column`` is nobody else's while this worker runs; ``names`` are all that are counted.

        Raises ``WindowsFull`` and ``OSError``.
        """
        self._directory = directory
        self._column = column
        with _locked(directory / _NAMES) as (shared, fd):
            self._slots = {name: _find_slot(shared, fd, name) for name in names}
            head = memoryview(shared).cast("I")
            head[0] = max(head[0], column + 1)
            if not any(shared[_HOST]):
                shared[_HOST] = os.urandom(16)
            self.host = shared[_HOST].hex()  # what tells this host, since its start, from others
        self._head = memoryview(_map(directory / _NAMES, _NAMES_BYTES)).cast("I")
        self._columns: dict[int, _Column] = {}
        forget_in_use(directory, column)
        self._ours = self._columns[column] = _Column(_path(directory, column))
        self._alone = memoryview(b"")  # for names that the disk has no space for
        self._names_alone: set[str] = set()
        self._written: dict[str, memoryview] = {}  # by name, once there is space
        self._read: dict[str, list[memoryview]] = {}

    def add(self, name: str, counter: Counter, amount: int) -> None:
        """Count ``amount`` more, or fewer if it is negative, in this second."""
        now = _now()
        record = self._record(name)
        ours = self._written.get(name) or self._find_space(name)
        for second in range(max(ours[record] + 1, now - _MASK), now + 1):
            for ring in _rings(record):
                ours[ring + (second & _MASK)] = 0
        ours[record] = now
        place = _rings(record)[counter] + (now & _MASK)
        ours[place] = min(max(ours[place] + amount, 0), 0xFFFFFFFF)

    def count(self, name: str, counter: Counter) -> int:
        """How many were counted in the last 60 seconds, by all workers.

        The second in which the minute began is counted as a whole, so it is never too few.
        """
        now, record, total = _now(), self._record(name), 0
        for column in self._all(name):
            last = column[record]
            if last < now - _SECONDS:
                continue
            first, end = max(now - _SECONDS, last - _MASK) & _MASK, min(now, last) & _MASK
            ring = _rings(record)[counter]
            if first <= end:
                total += sum(column[ring + first : ring + end + 1])
            else:
                total += sum(column[ring + first : ring + _RING])
                total += sum(column[ring : ring + end + 1])
        return total

    def wait_seconds(self, name: str, counter: Counter, below: int) -> int:
        """In how many seconds the count will be under ``below``, if nothing is added; 0 if it is.

        60 and a bit at most, for by then all of it is over.
        """
        excess = self.count(name, counter) - below
        if excess < 0:
            return 0
        now, place = _now(), _rings(self._record(name))[counter]
        record = self._record(name)
        for second in range(now - _SECONDS, now + 1):
            excess -= sum(
                column[place + (second & _MASK)]
                for column in self._all(name)
                if second <= column[record] < second + _RING
            )
            if excess < 0:
                return second + _SECONDS + 1 - now
        return _SECONDS + 1

    def enter(self, name: str) -> None:
        """One more is in use now."""
        ours = self._written.get(name) or self._find_space(name)
        ours[self._slots[name]] += 1

    def leave(self, name: str) -> None:
        """One fewer is in use now."""
        ours = self._written.get(name) or self._find_space(name)
        ours[self._slots[name]] -= 1

    def in_use(self, name: str) -> int:
        """How many are in use now, in all workers."""
        slot = self._slots[name]
        return sum(column[slot] for column in self._all(name))

    def _record(self, name: str) -> int:
        return CAPACITY + self._slots[name] * _RECORD_WORDS

    def _all(self, name: str) -> list[memoryview]:
        columns = self._read.get(name)
        if columns is None or self._head[0] > len(columns):
            columns = self._find_columns(name)
        return columns

    def _find_columns(self, name: str) -> list[memoryview]:
        """Those that hold something of ``name``; all of them are kept, for a look-up alone."""
        with suppress(OSError):  # no descriptor is left, say; the next call tries again
            for column in range(self._head[0]):
                if column not in self._columns:
                    self._columns[column] = _Column(_path(self._directory, column))
        ours = self._written.get(name) or self._find_space(name)
        places = self._places(name)
        others = [each for each in self._columns.values() if each is not self._ours]
        # To read what was never written takes space, too. Where there is none, nothing was.
        columns = [ours, *(each.words for each in others if each.reserve(places))]
        if len(columns) >= self._head[0] and ours is self._ours.words:
            self._read[name] = columns
        return columns

    def _find_space(self, name: str) -> memoryview:
        """Where ``name`` is counted: what others see, or this worker's memory while it is full."""
        places, ours = self._places(name), self._ours.words
        if self._ours.reserve(places):
            if name in self._names_alone:
                self._names_alone.remove(name)
                for start, words in places:
                    ours[start : start + words] = self._alone[start : start + words]
            self._written[name] = ours
            return ours
        if not self._alone:
            self._alone = memoryview(mmap.mmap(-1, _COLUMN_BYTES)).cast("I")
        self._names_alone.add(name)
        return self._alone

    def _places(self, name: str) -> tuple[tuple[int, int], ...]:
        return (self._slots[name], 1), (self._record(name), _RECORD_WORDS)


class _Column:
    """A column's file, mapped. Only what has been reserved may be touched."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.words = memoryview(_map(path, _COLUMN_BYTES)).cast("I")

    def reserve(self, places: Iterable[tuple[int, int]]) -> bool:
        """Whether there is space for them; each is the first of so many words."""
        return all(reserve(self._path, _WORD * at, _WORD * words) for at, words in places)


def forget_in_use(directory: Path, column: int) -> None:
    """Nothing is in use any more in ``column``, whose worker has ended.

    Does nothing if there is no such column.
    """
    with suppress(FileNotFoundError), _path(directory, column).open("r+b") as file:
        fd, position, end = file.fileno(), 0, _WORD * CAPACITY
        with suppress(OSError):  # there is no data behind the position
            # What was never written takes no memory, and shall not begin to.
            while (start := os.lseek(fd, position, os.SEEK_DATA)) < end:
                position = min(os.lseek(fd, start, os.SEEK_HOLE), end)
                os.pwrite(fd, bytes(position - start), start)


def _now() -> int:
    return int(time.monotonic())  # the same clock in all processes


def _rings(record: int) -> tuple[int, int]:
    return record + _HEAD_WORDS, record + _HEAD_WORDS + _RING


def _path(directory: Path, column: int) -> Path:
    return directory / f"column-{column}"


def _map(path: Path, size: int) -> mmap.mmap:
    """The file's memory; its pages take no space before something is written to them."""
    with path.open("a+b") as file:
        file.truncate(size)
        return mmap.mmap(file.fileno(), size)


@contextmanager
def _locked(path: Path) -> Iterator[tuple[mmap.mmap, int]]:
    """The names' memory while nobody else has it: for a start, not for a request."""
    shared = _map(path, _NAMES_BYTES)
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        os.posix_fallocate(file.fileno(), 0, _NAMES_HEAD_BYTES)
        yield shared, file.fileno()


def _find_slot(shared: mmap.mmap, fd: int, name: str) -> int:
    """Where the counts of ``name`` are; a free place becomes its own."""
    digest = hashlib.sha256(name.encode()).digest()[:_DIGEST_BYTES]
    start = int.from_bytes(digest[:8])
    for probe in range(CAPACITY):
        slot = (start + probe) % CAPACITY
        position = _NAMES_HEAD_BYTES + slot * _DIGEST_BYTES
        os.posix_fallocate(fd, position, _DIGEST_BYTES)
        found = shared[position : position + _DIGEST_BYTES]
        if found == _NO_NAME:
            shared[position : position + _DIGEST_BYTES] = digest
        if found in (_NO_NAME, digest):
            return slot
    raise WindowsFull(f"there is room for {CAPACITY} names with limits")
