"""The numbers behind the metrics: each worker's in files of its own that any other can read.

The files are in the folder that all workers share, named by the worker's column: ``.names`` has a
line for each series, ``.numbers`` the numbers of them all in the same order, in memory that is
mapped. So to count is to add to a number, and what was counted outlives a crash. A column outlives
its worker: the next one goes on counting where that ended, so there are never more files than
columns. What tells of the present alone, a gauge, ends with the worker.
"""

from __future__ import annotations

import logging
import mmap
import os
from array import array
from collections.abc import Iterator, Sequence
from operator import add
from pathlib import Path

import msgspec

from proxy.metric_families import FAMILIES, Family, Kind

logger = logging.getLogger(__name__)

Series = tuple[str, tuple[str, ...]]  # the family's name, and a value for each of its labels

_FOLDER = "series"
_NAMES, _NUMBERS = ".names", ".numbers"
_LIVE = "-live"

# As many as labels can have values, and half as many again: see labels.py.
_CAPACITY = 1 << 17
_FEW = 64  # gauges have no labels
_NUMBER_BYTES = 8

_SIZES = {family.name: family.size for family in FAMILIES}
_LABELS = {family.name: len(family.labels) for family in FAMILIES}

_Line = tuple[str, tuple[str, ...], int]


class Numbers:
    """One worker's, in its own memory or in a file."""

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self.numbers = memoryview(bytearray(capacity * _NUMBER_BYTES)).cast("d")
        self._names: int | None = None
        self._at: dict[Series, int] = {}
        self._used = _FEW  # those before belong to what there was no room for

    @classmethod
    def open(cls, stem: Path, capacity: int = _CAPACITY) -> Numbers:
        """Those in the files ``stem``, going on where they end. Raises ``OSError``.

        What another release has left there, with other metrics, is forgotten.
        """
        opened = cls(0)
        names, numbers = _files(stem)
        lines, whole = _read_names(names)
        if not all(map(_is_known, lines)):
            lines, whole = [], 0
        size = capacity * _NUMBER_BYTES
        opened._names = os.open(names, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.ftruncate(opened._names, whole)
        fd = os.open(numbers, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not lines:
                os.ftruncate(fd, 0)
            os.posix_fallocate(fd, 0, size)  # or a full disk would end the worker, later
            opened.numbers = memoryview(mmap.mmap(fd, size)).cast("d")
        finally:
            os.close(fd)
        for name, labels, length in lines:
            opened._at[name, labels] = opened._used
            opened._used += length
        return opened

    def place(self, family: Family, *labels: str) -> int:
        """Where the numbers of a series begin, which are 0 at first."""
        series = (family.name, labels)
        at = self._at.get(series)
        if at is None:
            at, used = self._used, self._used + family.size
            if used > len(self.numbers) or not self._write_name(series, family.size):
                return 0
            self._at[series] = at
            self._used = used
        return at

    def series(self) -> Iterator[tuple[Series, list[float]]]:
        """Every one there is, and its numbers."""
        for series, at in self._at.items():
            yield series, list(self.numbers[at : at + _SIZES[series[0]]])

    def _write_name(self, series: Series, size: int) -> bool:
        if self._names is None:
            return True
        line = msgspec.json.encode((*series, size)) + b"\n"
        before = os.fstat(self._names).st_size
        try:
            if os.write(self._names, line) == len(line):
                return True
            os.ftruncate(self._names, before)
        except OSError as exc:
            logger.error("there is no room to count %s: %s", series, exc)
        return False


class MetricFiles:
    """One worker's numbers: in files, unless it has none or the disk no space, then in memory."""

    def __init__(self, shared: Path | None = None, column: int = 0) -> None:
        """``column`` is nobody else's while this worker runs."""
        self.totals, self.live = Numbers(), Numbers(2 * _FEW)
        self._folder = None if shared is None else folder(shared)
        self._is_alone = True  # nobody else can read what is counted
        if shared is None or self._folder is None:
            return
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            forget_live(shared, column)  # a supervisor of an older release has not
            totals = Numbers.open(self._folder / str(column))
            self.live = Numbers.open(self._folder / f"{column}{_LIVE}", 2 * _FEW)
            self.totals, self._is_alone = totals, False
        except OSError as exc:
            logger.error("metrics of this worker end with it, for they cannot be kept: %s", exc)

    def of(self, family: Family) -> Numbers:
        """Where a metric is counted."""
        return self.live if family.kind is Kind.GAUGE else self.totals

    def read(self) -> dict[Series, list[float]]:
        """What all workers have counted together. Raises ``OSError``."""
        total = {} if self._folder is None else _read(self._folder)
        if self._is_alone:
            for series, numbers in [*self.totals.series(), *self.live.series()]:
                _add(total, series, numbers)
        return total


def folder(shared: Path) -> Path:
    """The folder of the metrics, in that of all that workers share."""
    return shared / _FOLDER


def forget_live(shared: Path, column: int) -> None:
    """Nothing is open any more in ``column``, whose worker has ended."""
    for file in _files(folder(shared) / f"{column}{_LIVE}"):
        file.unlink(missing_ok=True)


def _files(stem: Path) -> tuple[Path, Path]:
    return stem.with_name(stem.name + _NAMES), stem.with_name(stem.name + _NUMBERS)


def _read(directory: Path) -> dict[Series, list[float]]:
    total: dict[Series, list[float]] = {}
    for names in sorted(directory.glob(f"*{_NAMES}")):
        try:
            numbers = array("d", names.with_suffix(_NUMBERS).read_bytes())
        except FileNotFoundError:  # it has just been forgotten
            continue
        at = _FEW
        for line in _read_names(names)[0]:
            name, labels, length = line
            counted = numbers[at : at + length]
            # Not even zeros are there if the machine has stopped before it wrote them.
            if _is_known(line) and len(counted) == length:
                _add(total, (name, labels), counted)
            at += length
    return total


def _add(total: dict[Series, list[float]], series: Series, numbers: Sequence[float]) -> None:
    before = total.get(series, [0.0] * len(numbers))
    total[series] = list(map(add, before, numbers))


def _read_names(file: Path) -> tuple[list[_Line], int]:
    """The lines of a file, and where they end; none if there is none, or it cannot be read."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return [], 0
    end = content.rfind(b"\n") + 1
    joined = b",".join(content[:end].splitlines())
    try:
        return msgspec.json.decode(b"[" + joined + b"]", type=list[_Line]), end
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return [], 0


def _is_known(line: _Line) -> bool:
    name, labels, length = line
    return _SIZES.get(name) == length and _LABELS[name] == len(labels)
