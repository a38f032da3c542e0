"""Starts the proxy as a user would, and waits until it serves."""

from __future__ import annotations

import json
import ssl
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from tornado.netutil import bind_sockets

from tests.demo.processes import Failed, Processes, clean_environment
from tests.emulator.isolation import NO_AWS_FILES

HOST = "localhost"
# The user's own profiles and settings have no say here.

_CONFIG = Path(__file__).with_name("proxy.toml")
_START_SECONDS = 30.0
_POLL_SECONDS = 0.05


class Gateway:
    """The running proxy."""

    def __init__(self, url: str, key: str, certificate: Path) -> None:
        self.url = url
        self.key = key
        self.certificate = certificate
        context = ssl.create_default_context(cafile=certificate)
        self._opener = build_opener(ProxyHandler({}), HTTPSHandler(context=context))

    def is_ready(self) -> bool:
        """Whether the proxy wants requests."""
        try:
            self._get("/readyz")
        except HTTPError as exc:
            exc.close()
            return False
        return True

    def models(self) -> list[str]:
        """The names of the models that it offers."""
        return [model["id"] for model in self._get("/v1/models")["data"]]

    def _get(self, path: str) -> Any:
        request = Request(self.url + path, headers={"Authorization": f"Bearer {self.key}"})
        try:
            with self._opener.open(request, timeout=10) as answer:
                return json.load(answer)
        except HTTPError:
            raise
        except URLError as exc:
            raise Failed(f"the proxy does not answer at {self.url}: {exc.reason}") from exc


def check_port(port: int) -> None:
    """Raise ``Failed`` if the proxy could not listen on the port."""
    try:
        sockets = bind_sockets(port, HOST)
    except OSError as exc:
        reason = (exc.strerror or str(exc)).lower()
        raise Failed(
            f"cannot listen on port {port}: {reason}; choose another one with --port, "
            "or make demo PORT=…"
        ) from exc
    for each in sockets:
        each.close()


def start(
    processes: Processes, port: int, key: str, aws: Mapping[str, str], folder: Path
) -> Gateway:
    """Start the proxy with its state and its log in ``folder``; ``aws`` leads it to SageMaker."""
    environment = {
        **clean_environment(),
        **aws,
        **NO_AWS_FILES,
        "REGION_NAME": aws["AWS_REGION"],
        "API_KEY": key,
        "STATE_DIRECTORY": str(folder),
    }
    process = processes.start(
        "the proxy",
        [sys.executable, "-m", "proxy", "serve", "--config", str(_CONFIG), "--port", str(port)],
        environment=environment,
        log=log_file(folder, port),
    )
    url = processes.wait_for_line(process, _url_when_serving, _START_SECONDS)
    gateway = Gateway(url, key, folder / "certificate.pem")
    deadline = time.monotonic() + _START_SECONDS
    while not gateway.is_ready():
        if time.monotonic() > deadline:
            raise Failed(f"the proxy is not ready.{process.end_of_log()}")
        processes.wait(_POLL_SECONDS)
    return gateway


def log_file(folder: Path, port: int) -> Path:
    """Where the log goes of the proxy on a port."""
    return folder / f"proxy-{port}.log"


def _url_when_serving(line: str) -> str | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry["url"] if entry.get("message") == "serving" else None
