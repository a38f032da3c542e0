"""Takes connections from a listening socket, and waits when the system has no place for more."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any

from proxy.log import log_fields

logger = logging.getLogger(__name__)

# Of those that wait, before other work has its turn. Each brings a TLS handshake, which costs as
# much as some answers: were more begun than can be led to their end, in an overload all would end
# too late. The others wait in the socket's queue, at no cost.
_AT_ONCE = 16

# The process or the system has no file or memory left. Connections wait in the socket's queue.
_FULL = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_PAUSE_SECONDS = 0.5

_CLOSE_WAIT = 8  # Linux's number for the state in which the peer has closed its side


class Acceptor:
    """Takes them inside the running loop until it is stopped."""

    def __init__(self, listener: socket.socket, take: Callable[[socket.socket, Any], None]) -> None:
        """``take`` gets each connection and its address; ``listener`` does not block."""
        self._listener = listener
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._is_full = False
        self._go_on()

    def stop(self) -> None:
        """Take no more."""
        if self._pause is None:
            self._loop.remove_reader(self._listener)
        else:
            self._pause.cancel()

    def _go_on(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, address = self._listener.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError as exc:
                if exc.errno not in _FULL:
                    raise
                self._wait(exc)
                return
            self._is_full = False
            if _has_been_left(connection):
                connection.close()
            else:
                self._take(connection, address)

    def _wait(self, exc: OSError) -> None:
        if not self._is_full:
            self._is_full = True
            log_fields(logger, logging.ERROR, "no connection can be accepted", reason=exc.strerror)
        # The socket stays readable: without a pause, the loop would do nothing else.
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(_PAUSE_SECONDS, self._go_on)


def _has_been_left(connection: socket.socket) -> bool:
    """Whether its client gave up while it waited: nobody would see the end of a handshake."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _CLOSE_WAIT
