"""A pipe that somebody reads the log from, written to without waiting for the reader."""

from __future__ import annotations

import os
import select
from contextlib import suppress


class Pipe:
    """As much of a socket as the log uses."""

    def __init__(self, fd: int) -> None:
        """``fd`` leads to the pipe. Raises ``OSError`` if it may not be opened again."""
        # Not ``fd`` itself: others write to that, too, and do wait.
        self._fd = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK)

    def send(self, data: bytes, _flags: int = 0) -> int:
        """Write as much as it takes now. Raises ``OSError``."""
        return os.write(self._fd, data)

    def sendall(self, data: bytes) -> None:
        """Write it all, as it takes it. Raises ``OSError``."""
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        while data:
            poll.poll()
            with suppress(BlockingIOError):
                data = data[os.write(self._fd, data) :]
