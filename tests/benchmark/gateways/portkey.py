"""Portkey's gateway, in Node. It has no TLS and no keys of its own; callers bring AWS's."""

from dataclasses import dataclass
from pathlib import Path

from tests.benchmark import environments
from tests.benchmark.gateways.gateway import Running, sagemaker_request, served
from tests.benchmark.site import AWS_KEYS, PLAIN, REGION, Site, free_port

_VERSION = "1.15.2"

# With a later server of Hono's, its route answers 500.
_OVERRIDES = {"@hono/node-server": "1.14.0"}

# It would listen on every address.
_LOOPBACK = """\
const { Server } = require("net");
const listen = Server.prototype.listen;
Server.prototype.listen = function (port, ...rest) {
  const done = rest.find((each) => typeof each === "function");
  return listen.call(this, { port, host: "127.0.0.1", backlog: 4096 }, done);
};
"""


@dataclass(frozen=True)
class Portkey:
    """One process."""

    name: str = "portkey"
    title: str = f"Portkey {_VERSION} (Node), plain HTTP"
    tls: bool = False
    streams: bool = True

    def install(self) -> None:
        _modules()

    def start(self, site: Site) -> Running:
        directory = site.run / self.name
        directory.mkdir(parents=True, exist_ok=True)
        loopback = directory / "loopback.cjs"
        loopback.write_text(_LOOPBACK)
        port = free_port()
        server = _modules() / "@portkey-ai" / "gateway" / "build" / "start-server.js"
        program = site.programs.start(
            self.name,
            ["node", "--require", str(loopback), str(server), "--headless", f"--port={port}"],
            cores=site.gateway_cores,
            log=directory / "output.log",
            environment=site.environment() | {"NODE_ENV": "production"},
        )
        return served(self, site, Running(program, port), PLAIN)

    def request(self, site: Site, endpoint: str) -> bytes:
        headers = {
            "x-portkey-provider": "sagemaker",
            "x-portkey-custom-host": site.upstream_url,
            "x-portkey-aws-region": REGION,
            "x-portkey-aws-access-key-id": AWS_KEYS["AWS_ACCESS_KEY_ID"],
            "x-portkey-aws-secret-access-key": AWS_KEYS["AWS_SECRET_ACCESS_KEY"],
        }
        return sagemaker_request(site, endpoint, headers, "/v1")


def _modules() -> Path:
    return environments.node("portkey", {"@portkey-ai/gateway": _VERSION}, _OVERRIDES)
