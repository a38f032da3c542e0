"""Who listens on a port of this host, as ``/proc`` tells, and how many files they have open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_LISTENING = "0A"  # TCP_LISTEN in the kernel's own hex
_INODE = 9  # which field it is


@dataclass(frozen=True, slots=True)
class Process:
    """A process that has a socket listening on the port."""

    pid: int
    name: str
    open_files: int
    most_files: int | None  # None: any number


def listening_inodes(tables: Iterable[str], port: int) -> set[str]:
    """The inodes of the sockets that listen on ``port``, out of ``/proc/net/tcp`` and ``tcp6``."""
    found = set()
    for table in tables:
        for line in table.splitlines()[1:]:
            fields = line.split()
            if len(fields) <= _INODE or fields[3] != _LISTENING:
                continue
            if int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[_INODE])
    return found


def processes(port: int) -> list[Process]:
    """Those that listen on ``port``, as far as this user may look."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(port)}
    return [*_holders(sockets)] if sockets else []


def _inodes(port: int) -> set[str]:
    tables = [path for name in ("tcp", "tcp6") if (path := _PROC / "net" / name).exists()]
    return listening_inodes([path.read_text() for path in tables], port)


def _holders(sockets: set[str]) -> Iterator[Process]:
    for directory in _PROC.glob("[0-9]*"):
        with suppress(OSError):  # another user's, or gone by now
            files = [*(directory / "fd").iterdir()]
            if any(_target(file) in sockets for file in files):
                name = (directory / "comm").read_text().strip()
                limits = (directory / "limits").read_text()
                yield Process(int(directory.name), name, len(files), most_files(limits))


def _target(file: Path) -> str:
    with suppress(OSError):
        return str(file.readlink())
    return ""


def most_files(limits: str) -> int | None:
    """The soft limit of open files, out of ``/proc/PID/limits``; None if there is none."""
    for line in limits.splitlines():
        if line.startswith("Max open files"):
            soft = line.split()[3]
            return int(soft) if soft.isdecimal() else None
    return None
