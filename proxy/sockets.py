"""The listening sockets, a group for each worker: bound here, or dealt from systemd's."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from tornado.netutil import bind_sockets

_BACKLOG = 1024

# After so long without a word the kernel asks whether the client is there, and then again.
_SILENT_SECONDS = 60
_AGAIN_SECONDS = 30


def bind(host: str, port: int, workers: int) -> list[list[socket.socket]]:
    """One group of SO_REUSEPORT sockets a worker. Raises ``OSError`` if the port is taken.

    The kernel spreads connections evenly over such sockets, and badly over workers that share one.
    """
    # Without the option first, for with it another server's port could be joined unawares.
    probes = bind_sockets(port, host or None)
    port = probes[0].getsockname()[1]
    for probe in probes:
        probe.close()
    groups = [
        bind_sockets(port, host or None, backlog=_BACKLOG, reuse_port=True) for _ in range(workers)
    ]
    for group in groups:
        _keep_alive(group)
    return groups


def share(sockets: Sequence[socket.socket], workers: int) -> list[list[socket.socket]]:
    """Deal sockets that systemd opened to as many workers as can have one."""
    _keep_alive(sockets)
    workers = min(workers, len(sockets))
    return [list(sockets[slot::workers]) for slot in range(workers)]


def _keep_alive(listeners: Sequence[socket.socket]) -> None:
    """Have the kernel ask after silent clients; connections inherit it from their listener.

    While an answer takes long, a load balancer would forget its connection (AWS's after 350
    seconds), and of a client whose machine has gone nothing else tells.
    """
    for each in listeners:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENT_SECONDS)
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _AGAIN_SECONDS)
