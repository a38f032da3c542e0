"""An ACME certificate authority in a host's namespace, as Let's Encrypt is to the world."""

import json
import subprocess
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.testhost.authority import Authority
from tests.testhost.host import Host

_START_SECONDS = 20.0
_DIRECTORY = "https://127.0.0.1:14000/dir"
_MANAGEMENT = "https://127.0.0.1:15000"
_NAME_SERVER = "127.0.0.1:8053"

_ENVIRONMENT = {
    "PEBBLE_VA_NOSLEEP": "1",  # validates without a pause
    "PEBBLE_WFE_NONCEREJECT": "0",  # refuses no nonce for practice
    "PEBBLE_AUTHZREUSE": "0",  # each order is validated anew
}


class Pebble:
    """Pebble on the host's loopback, as a context manager.

    It looks every name up as 127.0.0.1 and validates http-01 on port 80 there. What it issues is
    valid for `validity`. An ACME client has to trust `ca` in order to speak to `directory_url`.
    """

    directory_url = _DIRECTORY

    def __init__(self, host: Host, validity: timedelta = timedelta(days=90)) -> None:
        self._host = host
        self._validity = validity
        self._processes: list[subprocess.Popen[Any]] = []

    def __enter__(self) -> Self:
        self._directory = self._host.directory / "pebble"
        self._directory.mkdir(exist_ok=True)
        self.ca = self._directory / "ca.pem"
        self._log = self._directory / "pebble.log"
        self._start(
            "pebble-challtestsrv",
            *("-dns01", _NAME_SERVER, "-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""),
            *("-management", "127.0.0.1:8055"),
            *("-http01", "", "-https01", "", "-tlsalpn01", ""),
        )
        config = str(self._configure())
        try:
            self._start("pebble", "-config", config, "-dnsserver", _NAME_SERVER, "-strict=false")
            self._wait()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def root(self) -> str:
        """The certificate (PEM) that all it issues can be verified with; a new one each start."""
        return self._get(f"{_MANAGEMENT}/roots/0")

    def _configure(self) -> Path:
        authority = Authority("Pebble's listener")
        certificate, private_key = authority.issue("localhost", "127.0.0.1")
        self.ca.write_bytes(authority.certificate)
        (self._directory / "certificate.pem").write_bytes(certificate)
        (self._directory / "private_key.pem").write_bytes(private_key)
        config = {
            "listenAddress": "127.0.0.1:14000",
            "managementListenAddress": "127.0.0.1:15000",
            "certificate": str(self._directory / "certificate.pem"),
            "privateKey": str(self._directory / "private_key.pem"),
            "httpPort": 80,
            "tlsPort": 443,
            "certificateValidityPeriod": int(self._validity.total_seconds()),
        }
        path = self._directory / "config.json"
        path.write_text(json.dumps({"pebble": config}))
        return path

    def _start(self, *command: str) -> None:
        with self._log.open("ab") as log:
            self._processes.append(
                self._host.inside(
                    command,
                    env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **_ENVIRONMENT},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self._get(_DIRECTORY, check=False):
            ended = any(process.poll() is not None for process in self._processes)
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"pebble does not answer:\n{self._log.read_text()}")
            time.sleep(0.05)

    def _get(self, url: str, *, check: bool = True) -> str:
        command: Sequence[str] = ("curl", "--silent", "--fail", "--cacert", "/dev/stdin", url)
        return self._host.run(" ".join(command), check=check, stdin=self.ca.read_text()).stdout

    def _stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()
        self._processes.clear()
