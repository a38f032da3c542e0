"""Tornado saying hello: what the framework alone costs, with nothing behind it."""

import sys
from dataclasses import dataclass

import tornado

from tests.benchmark.gateways.gateway import Running, openai_request, served
from tests.benchmark.site import PLAIN, ROOT, Site, free_port


@dataclass(frozen=True)
class Hello:
    """See hello_server.py."""

    tls: bool = True
    streams: bool = True

    @property
    def name(self) -> str:
        return "hello" if self.tls else "hello-plain"

    @property
    def title(self) -> str:
        return f'Tornado {tornado.version} "hello"' + ("" if self.tls else ", plain HTTP")

    def install(self) -> None:
        pass

    def start(self, site: Site) -> Running:
        port = free_port()
        command = [sys.executable, "-m", "tests.benchmark.gateways.hello_server"]
        command += ["--port", str(port), "--key", site.key]
        if self.tls:
            command += ["--certificate", str(site.certificate)]
            command += ["--private-key", str(site.private_key)]
        program = site.programs.start(
            self.name,
            command,
            cores=site.gateway_cores,
            log=site.run / self.name / "output.log",
            directory=ROOT,
            environment=site.environment(),
        )
        return served(self, site, Running(program, port), PLAIN)

    def request(self, site: Site, endpoint: str) -> bytes:
        return openai_request(site, "/v1/chat/completions", endpoint, endpoint)
