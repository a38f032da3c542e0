"""The listening sockets, a group for each worker: bound here, or dealt from systemd's."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from tornado.netutil import bind_sockets

_BACKLOG = 1024


def bind(host: str, port: int, workers: int) -> list[list[socket.socket]]:
    """One group of SO_REUSEPORT sockets a worker. Raises ``OSError`` if the port is taken.

    The kernel spreads connections evenly over such sockets, and badly over workers that share one.
    """
    # Without the option first, for with it another server's port could be joined unawares.
    probes = bind_sockets(port, host or None)
    port = probes[0].getsockname()[1]
    for probe in probes:
        probe.close()
    return [
        bind_sockets(port, host or None, backlog=_BACKLOG, reuse_port=True) for _ in range(workers)
    ]


def share(sockets: Sequence[socket.socket], workers: int) -> list[list[socket.socket]]:
    """Deal sockets that systemd opened to as many workers as can have one."""
    workers = min(workers, len(sockets))
    return [list(sockets[slot::workers]) for slot in range(workers)]
