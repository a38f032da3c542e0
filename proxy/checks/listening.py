"""Who listens on a port of this host, and how many files they have open, as ``/proc`` tells."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_LISTENING = "0A"  # TCP_LISTEN in the kernel's own hex
_INODE = 9  # which field it is

# Of a supervisor and of a worker.
_LINES = (b"\0-m\0proxy\0serve\0", b"\0-m\0proxy.server\0")


@dataclass(frozen=True, slots=True)
class Process:
    """A process with its files; ``name`` is that of its program."""

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


def is_listened_on(port: int) -> bool:
    """Whether anything listens on ``port``, on any address."""
    return bool(_inodes(port))


def processes(port: int) -> list[Process]:
    """Those that listen on ``port``, as far as this user may look."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(port)}
    return [*_holders(sockets)] if sockets else []


def workers() -> list[Process]:
    """The processes of the proxy that this user runs, whatever they listen on.

    The service has a user namespace of its own, so that not even its own user is told from outside
    which sockets it has open; how many files those are, and its command line, is.
    """
    return [*_running()]


def _inodes(port: int) -> set[str]:
    tables = [path for name in ("tcp", "tcp6") if (path := _PROC / "net" / name).exists()]
    return listening_inodes([path.read_text() for path in tables], port)


def _holders(sockets: set[str]) -> Iterator[Process]:
    for directory in _PROC.glob("[0-9]*"):
        with suppress(OSError):  # another user's, or gone by now
            files = [*(directory / "fd").iterdir()]
            if any(_target(file) in sockets for file in files):
                yield _process(directory, len(files))


def _running() -> Iterator[Process]:
    for directory in _PROC.glob("[0-9]*"):
        with suppress(OSError):
            line = (directory / "cmdline").read_bytes()
            if directory.stat().st_uid == os.getuid() and any(each in line for each in _LINES):
                yield _process(directory, len([*(directory / "fd").iterdir()]))


def _process(directory: Path, files: int) -> Process:
    name = (directory / "comm").read_text().strip()
    return Process(int(directory.name), name, files, most_files((directory / "limits").read_text()))


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
