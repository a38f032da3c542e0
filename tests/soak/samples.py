"""What the proxy's processes hold from moment to moment, and whether that rises."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmark import procfs

_MIB = 1024 * 1024

_MOST_MORE = 15  # descriptors, threads


@dataclass(frozen=True)
class Sample:
    """One process at one moment: seconds, bytes, and counts."""

    at: float
    memory: int
    descriptors: int
    threads: int


def take(pid: int, at: float) -> Sample:
    """Look at a process. Raises `OSError` if it is gone."""
    process = Path(f"/proc/{pid}")
    threads = len(os.listdir(process / "task"))  # noqa: PTH208
    descriptors = len(os.listdir(process / "fd"))  # noqa: PTH208
    return Sample(at, procfs.memory(pid).rss, descriptors, threads)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the rise a second of the line that fits best; 0 for less than two moments."""
    if len({at for at, _ in points}) < 2:
        return 0.0
    mean_at = sum(at for at, _ in points) / len(points)
    mean = sum(value for _, value in points) / len(points)
    above = sum((at - mean_at) * (value - mean) for at, value in points)
    return above / sum((at - mean_at) ** 2 for at, _ in points)


@dataclass(frozen=True)
class Course:
    """The samples of one process, after it has warmed up."""

    name: str
    samples: Sequence[Sample]

    @property
    def seconds(self) -> float:
        """How long it was looked at."""
        return self.samples[-1].at - self.samples[0].at

    @property
    def risen(self) -> float:
        """By how many bytes the line through its memory rises, from end to end."""
        return slope([(each.at, each.memory) for each in self.samples]) * self.seconds

    def excess(self, most_risen: float) -> str | None:
        """Say what rises beyond its bound (of memory, in bytes); None if nothing does."""
        if self.risen > most_risen:
            return (
                f"{self.name}: memory has risen by {self.risen / _MIB:.1f} MiB "
                f"in {self.seconds:.0f} s; at most {most_risen / _MIB:.1f} are in order"
            )
        for what in ("descriptors", "threads"):
            values = [getattr(each, what) for each in self.samples]
            third = len(values) // 3
            first, last = min(values[: third or 1]), min(values[-third or -1 :])
            # Connections come and go; what leaks is not there to be let go, so look at the least.
            if last > first + _MOST_MORE:
                return f"{self.name}: {what} were {first} at least, and then {last}"
        return None
