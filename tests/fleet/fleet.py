"""Three hosts with the proxy on them, behind one address, as operator and clients see them."""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.fleet.balancer import Balancer
from tests.fleet.crossing import Crossing
from tests.integration.shared_counts import CountsServer
from tests.provisioning.service import Service
from tests.testhost import commands
from tests.testhost.playbook import Outcome, play


@dataclass(frozen=True)
class SageMakers:
    """Each host's own, ordered about together."""

    services: list[Service]

    def set_fault(self, endpoint: str, kind: str, times: int | None = 1, **params: Any) -> None:
        """Let calls to an endpoint fail."""
        for service in self.services:
            service.sagemaker.set_fault(endpoint, kind, times, **params)

    def clear_faults(self) -> None:
        """Let every endpoint be well again."""
        for service in self.services:
            service.sagemaker.clear_faults()


@dataclass
class Fleet:
    """What is behind the balancer, what clients have, and what the playbooks are played with."""

    services: dict[str, Service]  # by the host's name, in the order of the inventory
    balancer: Balancer
    counts: CountsServer
    crossing: Crossing
    authority: Path  # of every host's certificate
    key_file: Path
    variables: Mapping[str, object]
    limited: dict[str, str] = field(default_factory=dict)  # keys with limits, by name

    @property
    def url(self) -> str:
        """Where clients call it."""
        return self.balancer.url

    @property
    def key(self) -> str:
        """The key that works now."""
        return self.key_file.read_text().strip()

    @property
    def sagemaker(self) -> SageMakers:
        """What answers behind the hosts."""
        return SageMakers(list(self.services.values()))

    def client_context(self) -> ssl.SSLContext:
        """A TLS context that trusts the fleet alone."""
        return ssl.create_default_context(cafile=self.authority)

    def session(self, key: str | None = None) -> requests.Session:
        """A client of the fleet, or, by another URL, of one of its hosts."""
        session = requests.Session()
        session.trust_env = False
        session.verify = str(self.authority)
        session.headers["Authorization"] = f"Bearer {key or self.key}"
        return session

    def play(
        self, playbook: str = "site.yml", *arguments: str, ok: bool = True, **variables: object
    ) -> Outcome:
        """Play a playbook on every host, with more variables if need be."""
        first, *others = [service.host for service in self.services.values()]
        return play(
            first,
            playbook,
            *arguments,
            variables={**self.variables, **variables},
            ok=ok,
            others=others,
        )

    def releases(self) -> dict[str, str]:
        """Which version each host serves."""
        return {name: str(self._version(each)) for name, each in self.services.items()}

    def _version(self, service: Service) -> str:
        found = re.match(r"[\d.]+", service.release())
        return found[0] if found else ""

    @contextmanager
    def cut_off(self, name: str) -> Iterator[Service]:
        """Meanwhile, nothing that a host sends gets to the server of the counts."""
        service = self.services[name]
        route = ["blackhole", f"{self.crossing.address}/32"]
        ip = ["ip", "-netns", service.host.namespace, "route"]
        commands.run([*ip, "add", *route])
        try:
            yield service
        finally:
            commands.run([*ip, "delete", *route])


def wait_until(what: Callable[[], bool], seconds: float, why: str) -> None:
    """Wait for something. Raises AssertionError if it takes longer."""
    ended = threading.Event()
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, why
        ended.wait(0.1)
