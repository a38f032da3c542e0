"""The server that the hosts count their limits on: Debian's Redis, which Valkey comes from."""

import socket
import subprocess
import time
from types import TracebackType
from typing import Self

import pytest

from tests.fleet.crossing import Crossing
from tests.testhost import machine

PROGRAM = "redis-server"
PORT = 6379
_PASSWORD = "known-to-the-hosts-alone"
_START_SECONDS = 20.0


class Counts:
    """Keeps nothing on disk."""

    def __init__(self, crossing: Crossing) -> None:
        self._crossing = crossing

    def __enter__(self) -> Self:
        if reason := machine.provide(PROGRAM, PROGRAM):
            pytest.skip(reason)
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """What the hosts are configured with."""
        return f"valkey://:{_PASSWORD}@{self._crossing.address}:{PORT}"

    def start(self) -> None:
        """Have it be there, with nothing counted."""
        settings = {"port": PORT, "bind": self._crossing.address, "requirepass": _PASSWORD}
        settings |= {"save": "", "dir": self._crossing.directory}
        line = [PROGRAM, *(part for name in settings for part in (f"--{name}", settings[name]))]
        self._process = self._crossing.start([*map(str, line)], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                with socket.create_connection((self._crossing.address, PORT), timeout=1):
                    return
            except OSError:
                assert self._process.poll() is None, f"{PROGRAM} does not start"
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def kill(self) -> None:
        """End it; connections to it are refused."""
        self._process.kill()
        self._process.wait()
