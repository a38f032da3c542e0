"""What Linux tells of processes: their descendants, CPU time and memory."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICK = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Stat:
    """What is needed of `/proc/PID/stat`; CPU time in seconds, of all its threads."""

    parent: int
    cpu_seconds: float


@dataclass(frozen=True)
class Memory:
    """In bytes: pages that others use, too, are shared out (`pss`), or counted in full (`rss`)."""

    pss: int
    rss: int


def parse_stat(text: str) -> Stat:
    """Read one line of `/proc/PID/stat`, whose second field may hold spaces and brackets."""
    fields = text.rpartition(")")[2].split()
    return Stat(int(fields[1]), (int(fields[11]) + int(fields[12])) * _TICK)


def parse_smaps_rollup(text: str) -> Memory:
    """Read `/proc/PID/smaps_rollup`."""
    kib = {
        line.split(":")[0]: int(line.split()[1])
        for line in text.splitlines()
        if line.endswith("kB")
    }
    return Memory(kib["Pss"] * 1024, kib["Rss"] * 1024)


def parse_stolen(text: str) -> tuple[float, float]:
    """Read `/proc/stat`: the seconds that a virtual machine's host took, and all there were."""
    ticks = [int(field) for field in text.split("\n", 1)[0].split()[1:9]]
    return ticks[7] * _TICK, sum(ticks) * _TICK


def stolen() -> tuple[float, float]:
    """Return the same of this machine, since it started."""
    return parse_stolen((_PROC / "stat").read_text())


def tree(root: int) -> list[int]:
    """Return a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                stat = parse_stat((entry / "stat").read_text())
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(stat.parent, []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU time that these processes have used; one that is gone counts for nothing."""
    return sum(_read(pid).cpu_seconds for pid in pids)


def memory(pid: int) -> Memory:
    """Return the memory of one process; FileNotFoundError if it is gone."""
    return parse_smaps_rollup((_PROC / str(pid) / "smaps_rollup").read_text())


def _read(pid: int) -> Stat:
    try:
        return parse_stat((_PROC / str(pid) / "stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return Stat(0, 0.0)
