"""A server that several hosts count their limits on: Debian's, on a free port."""

import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.testhost import machine

PROGRAM = PACKAGE = "redis-server"
PASSWORD = "not-to-be-shown"
_START_SECONDS = 10.0

Start = Callable[..., subprocess.Popen[Any]]


class CountsServer:
    """Keeps nothing on disk; can be stopped and go on.

    With a certificate and its private key (PEM), it speaks TLS alone. It is on a free port of the
    loopback, if nothing else is said; ``start`` starts its process.
    """

    def __init__(
        self,
        directory: Path,
        pair: tuple[bytes, bytes] | None = None,
        *,
        at: tuple[str, int] = ("127.0.0.1", 0),
        password: str = PASSWORD,
        start: Start = subprocess.Popen,
    ) -> None:
        self._directory = directory
        self._pair = pair
        self._host, self.port = at
        self._password = password
        self._start_process = start

    def __enter__(self) -> Self:
        if reason := machine.provide(PROGRAM, PACKAGE):
            pytest.skip(reason)
        self._start()
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
        """What a proxy is configured with."""
        scheme = "valkeys" if self._pair else "valkey"
        return f"{scheme}://:{self._password}@{self._host}:{self.port}"

    def freeze(self) -> None:
        """Have it answer nothing; connections to it still open."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Have it answer again."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it; connections to it are refused."""
        self._process.kill()
        self._process.wait()

    def start_again(self) -> None:
        """Have it be where it was before, with nothing counted."""
        assert self._starts()

    def _start(self) -> None:
        wanted = self.port
        while True:
            with socket.create_server((self._host, wanted)) as free:
                self.port = free.getsockname()[1]
            if self._starts():
                return
            self._process.wait()  # the port was taken in between

    def _starts(self) -> bool:
        settings: dict[str, Any] = {
            "port": self.port,
            "bind": self._host,
            "save": "",
            "dir": self._directory,
        }
        settings["requirepass"] = self._password
        if self._pair:
            names = ("tls-cert-file", "tls-key-file")
            for name, content in zip(names, self._pair, strict=True):
                settings[name] = self._directory / name
                settings[name].write_bytes(content)
            settings |= {"port": 0, "tls-port": self.port, "tls-auth-clients": "no"}
        line = [PROGRAM, *(part for name in settings for part in (f"--{name}", settings[name]))]
        self._process = self._start_process([*map(str, line)], stdout=subprocess.DEVNULL)
        return self._answers()

    def _answers(self) -> bool:
        deadline = time.monotonic() + _START_SECONDS
        while self._process.poll() is None:
            try:
                with socket.create_connection((self._host, self.port), timeout=1):
                    return True
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        return False
