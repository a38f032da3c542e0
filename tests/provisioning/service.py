"""The proxy on a test host, as its operator and its clients see it."""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import testinfra

from tests.testhost.host import Host
from tests.testhost.playbook import Outcome, play
from tests.testhost.sagemaker import SageMaker

UNIT = "sagemaker-proxy.service"
CURRENT = "/opt/sagemaker-proxy/current"


@dataclass(frozen=True)
class Service:
    """A host, the SageMaker beside it, and the variables that its playbooks are played with."""

    host: Host
    sagemaker: SageMaker
    directory: Path
    variables: Mapping[str, object]

    @property
    def url(self) -> str:
        """Where clients call it."""
        return f"https://{self.host.address}:8000"

    @property
    def key_file(self) -> Path:
        """Where the playbooks keep the key that they have made."""
        return Path(str(self.variables["api_keys_file"]))

    @property
    def key(self) -> str:
        """The key that works now."""
        return self.key_file.read_text().strip()

    @property
    def certificate(self) -> Path:
        """What a client needs to verify it: the certificate as it is on the host now."""
        path = self.directory / "certificate.pem"
        path.write_text(self.host.run("cat /etc/sagemaker-proxy/certificate.pem").stdout)
        return path

    def play(
        self,
        playbook: str = "site.yml",
        *arguments: str,
        check: bool = False,
        diff: bool = False,
        ok: bool = True,
        cut_at: str | None = None,
        aws: Mapping[str, str] | None = None,
        as_shipped: bool = False,
        **variables: object,
    ) -> Outcome:
        """Play a playbook, with more variables if need be; see `tests.testhost.playbook.play`."""
        return play(
            self.host,
            playbook,
            *arguments,
            variables={**self.variables, **variables},
            check=check,
            diff=diff,
            ok=ok,
            cut_at=cut_at,
            aws=aws,
            as_shipped=as_shipped,
        )

    def foreseen(self, **variables: Any) -> str:
        """What --check says that site.yml would do with the service."""
        output = self.play(check=True, **variables).output
        return str(re.findall(r"to be done with the service: (\w+)", output)[-1])

    def client_context(self) -> ssl.SSLContext:
        """A TLS context that trusts this service alone."""
        return ssl.create_default_context(cafile=self.certificate)

    def session(self, key: str | None = None) -> requests.Session:
        """A client that trusts this service alone and has its key, or another."""
        session = requests.Session()
        session.trust_env = False
        session.verify = str(self.certificate)
        session.headers["Authorization"] = f"Bearer {key or self.key}"
        return session

    def get(self, path: str, key: str | None = None) -> requests.Response:
        """Ask once, over a connection of its own."""
        with self.session(key) as session:
            return session.get(self.url + path, timeout=30)

    def models(self) -> list[str]:
        """The models that the key sees."""
        answer = self.get("/v1/models")
        assert answer.status_code == 200, answer.text
        return [model["id"] for model in answer.json()["data"]]

    def show(self, name: str) -> str:
        """A property of the unit."""
        return self.host.run(f"systemctl show --property={name} --value {UNIT}").stdout.strip()

    def release(self) -> str:
        """The release that is current."""
        return self.host.run(f"basename $(readlink {CURRENT})").stdout.strip()

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        line = "pgrep --uid sagemaker-proxy --full proxy.server"
        return sorted(map(int, self.host.run(line).stdout.split()))

    def journal(self, since: str = "today") -> list[dict[str, Any]]:
        """The service's own lines in the journal."""
        line = f"journalctl --unit={UNIT} --output=cat --no-pager --since='{since}' _COMM=python"
        return [json.loads(entry) for entry in self.host.run(line).stdout.splitlines()]

    def wait_until(self, what: Callable[[], bool], seconds: float) -> float:
        """Wait for something; how long it took. Raises AssertionError if it takes longer."""
        began = time.monotonic()
        while not what():
            assert time.monotonic() - began < seconds, self.show("StatusText")
            time.sleep(0.05)
        return time.monotonic() - began

    def testinfra(self) -> Any:
        """The host as testinfra sees it, as root."""
        return testinfra.get_host(
            f"ssh://root@{self.host.address}",
            ssh_identity_file=str(self.host.private_key),
            ssh_extra_args=f"-o UserKnownHostsFile={self.host.known_hosts}",
        )


Provision = Callable[[str], AbstractContextManager[Service]]
