"""This proxy, as it is shipped: with its access log, metrics, and a key that has limits."""

import socket
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from proxy import __version__
from proxy.keys import hash_key
from tests.benchmark.gateways.gateway import Running, openai_request, served
from tests.benchmark.site import PLAIN, ROOT, Site, free_port

# So high that none is met, yet each is counted.
_LIMITS = (
    "requests_per_minute = 1000000000\ntokens_per_minute = 1000000000\nmax_concurrent = 100000"
)

# Keeps what tells of a start that failed, and takes the rest.
_JOURNAL = "exec <&{0}; head --bytes 65536; exec cat > /dev/null"


@dataclass(frozen=True)
class Ours:
    """Workers, TLS and whatever else a measurement varies."""

    tls: bool = True
    label: str = ""  # of a variant
    workers: int = 1
    other_keys: int = 0  # that exist beside the one that calls
    config: str = ""  # more of config.toml
    environment: Mapping[str, str] = field(default_factory=dict)
    streams: bool = True

    @property
    def name(self) -> str:
        return self.label or ("ours" if self.tls else "ours-plain")

    @property
    def title(self) -> str:
        return f"SageMaker Proxy {__version__}" + ("" if self.tls else ", plain HTTP")

    def install(self) -> None:
        pass

    def start(self, site: Site) -> Running:
        directory = site.run / self.name
        directory.mkdir(parents=True, exist_ok=True)
        port = free_port()
        config = self._write_settings(site, directory, port)
        environment = site.environment() | {"STATE_DIRECTORY": str(directory), **self.environment}
        journal_log = directory / "journal.log"
        # As systemd does, so the log takes the way that it takes there.
        log, journal = socket.socketpair()
        with log, journal:
            site.programs.start(
                "journal",
                ["sh", "-c", _JOURNAL.format(journal.fileno())],
                cores=site.load_cores,
                log=journal_log,
                keep=(journal.fileno(),),
            )
            program = site.programs.start(
                self.name,
                [sys.executable, "-m", "proxy", "serve", "--config", str(config)],
                cores=site.gateway_cores if self.workers == 1 else self._all_cores(site),
                log=directory / "output.log",
                log_shown=journal_log,
                environment=environment,
                directory=ROOT,
                error=log.fileno(),
            )
        return served(self, site, Running(program, port), PLAIN)

    def request(self, site: Site, endpoint: str) -> bytes:
        return openai_request(site, "/v1/chat/completions", endpoint, endpoint)

    def _all_cores(self, site: Site) -> tuple[int, ...]:
        return (*site.load_cores, *site.gateway_cores)

    def _write_settings(self, site: Site, directory: Path, port: int) -> Path:
        server = [
            "[server]",
            'host = "127.0.0.1"',
            f"port = {port}",
            f"workers = {self.workers}",
            f"tls = {str(self.tls).lower()}",
        ]
        if self.tls:
            server += [
                f'certificate = "{site.certificate}"',
                f'private_key = "{site.private_key}"',
            ]
        path = directory / "config.toml"
        path.write_text("\n".join([*server, self.config, ""]))
        keys = [_key("benchmark", site.key)]
        keys += [_key(f"other-{n}", other_key(n)) for n in range(self.other_keys)]
        (directory / "keys.toml").write_text("\n".join(keys))
        return path


def other_key(number: int) -> str:
    """One of the keys that exist beside the run's own."""
    return str(uuid.UUID(int=number, version=4))


def _key(name: str, key: str) -> str:
    return f'[keys.{name}]\nsha256 = "{hash_key(key)}"\n{_LIMITS}\n'
