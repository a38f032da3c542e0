"""HAProxy in TCP mode, in a Network Load Balancer's place: it sees bytes and /readyz alone."""

import csv
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import pytest

from tests.fleet.crossing import Crossing
from tests.testhost import machine

PORT = 443
CHECK_SECONDS = 0.5
CHECKS = 2  # so many until a host is in or out
NOTED_SECONDS = 3  # by then it has taken note, on a busy machine, too

_SETTINGS = """
global
    stats socket {directory}/haproxy.sock mode 600 level admin
    maxconn 4000
defaults
    mode tcp
    timeout connect 2s
    timeout client 300s
    timeout server 300s
    retries 3
    option redispatch 1
frontend clients
    bind {address}:{port}
    default_backend hosts
backend hosts
    balance roundrobin
    option httpchk GET /readyz
    http-check expect status 200
    default-server check check-ssl verify none inter {milliseconds} fall {checks} rise {checks}
{servers}
"""


class Balancer:
    """Spreads connections over the hosts, which are given by name."""

    def __init__(self, crossing: Crossing, hosts: Mapping[str, str]) -> None:
        self._crossing = crossing
        self._hosts = hosts

    def __enter__(self) -> Self:
        if reason := machine.provide("haproxy", "haproxy"):
            pytest.skip(reason)
        servers = [f"    server {name} {host}:8000" for name, host in self._hosts.items()]
        settings = self._crossing.directory / "haproxy.cfg"
        settings.write_text(
            _SETTINGS.format(
                directory=self._crossing.directory,
                address=self._crossing.address,
                port=PORT,
                milliseconds=int(CHECK_SECONDS * 1000),
                checks=CHECKS,
                servers="\n".join(servers),
            )
        )
        with (self._crossing.directory / "haproxy.log").open("wb") as log:
            line = ["haproxy", "-db", "-f", str(settings)]
            self._process = self._crossing.start(line, stdout=log, stderr=subprocess.STDOUT)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def url(self) -> str:
        """Where clients call the fleet."""
        return f"https://{self._crossing.address}:{PORT}"

    def states(self) -> dict[str, bool]:
        """Whether each host is sent new connections."""
        return {row["svname"]: row["status"].startswith("UP") for row in self._rows()}

    def connections(self) -> dict[str, int]:
        """How many connections of clients each host has."""
        return {row["svname"]: int(row["scur"]) for row in self._rows()}

    def wait_for(self, number: int, seconds: float = 60.0) -> None:
        """Wait until so many hosts are sent connections."""
        deadline = time.monotonic() + seconds
        while sum(self.states().values()) != number:
            assert time.monotonic() < deadline, self.states()
            time.sleep(0.1)

    def only(self, *names: str) -> None:
        """Send new connections to these alone."""
        for name in self._hosts:
            self._say(f"set server hosts/{name} state {'ready' if name in names else 'maint'}")

    def _rows(self) -> list[dict[str, str]]:
        lines = self._say("show stat").lstrip("# ").splitlines()
        return [row for row in csv.DictReader(lines) if row["svname"] in self._hosts]

    def _say(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._crossing.directory / "haproxy.sock"))
            connection.sendall(command.encode() + b"\n")
            return connection.makefile().read()


class Watch:
    """Which hosts were out of the balancer while something happened: `out` has each such set."""

    def __init__(self, balancer: Balancer) -> None:
        self.out: list[frozenset[str]] = []
        self._balancer = balancer
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.1):
            out = frozenset(name for name, up in self._balancer.states().items() if not up)
            if out and out not in self.out[-1:]:
                self.out.append(out)
