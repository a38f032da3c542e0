"""TensorZero, in Rust, calling SageMaker. It has no TLS, and here neither keys nor a database."""

import time
from dataclasses import dataclass
from pathlib import Path

from tests.benchmark import environments
from tests.benchmark.gateways.gateway import Running, openai_request, served
from tests.benchmark.programs import Failed, Program
from tests.benchmark.site import ENDPOINTS, PLAIN, REGION, Site

_VERSION = "2026.6.0"
_START_SECONDS = 20.0

_MODEL = """\
[models.{endpoint}]
routing = ["sagemaker"]
[models.{endpoint}.providers.sagemaker]
type = "aws_sagemaker"
endpoint_name = "{endpoint}"
model_name = "benchmark"
hosted_provider = "openai"
region = "{region}"
endpoint_url = "{upstream}"
"""

# The wheel holds the gateway, which serves on a port that it chooses.
_SERVE = """\
import sys, time
from tensorzero.tensorzero import _start_http_gateway
gateway = _start_http_gateway(config_file=sys.argv[1], clickhouse_url=None, postgres_url=None,
                              valkey_url=None, async_setup=False)
print("serving at", gateway.base_url, flush=True)
time.sleep(1e6)
"""


@dataclass(frozen=True)
class TensorZero:
    """The gateway inside TensorZero's wheel."""

    name: str = "tensorzero"
    title: str = f"TensorZero {_VERSION} (Rust), plain HTTP"
    tls: bool = False
    streams: bool = True

    def install(self) -> None:
        _interpreter()

    def start(self, site: Site) -> Running:
        directory = site.run / self.name
        directory.mkdir(parents=True, exist_ok=True)
        config = directory / "tensorzero.toml"
        models = [
            _MODEL.format(endpoint=each, region=REGION, upstream=site.upstream_url)
            for each in ENDPOINTS
        ]
        config.write_text("\n".join(["[gateway]", "observability.enabled = false", *models]))
        program = site.programs.start(
            self.name,
            [str(_interpreter()), "-c", _SERVE, str(config)],
            cores=site.gateway_cores,
            log=directory / "output.log",
            environment=site.environment(),
        )
        return served(self, site, Running(program, _port(program)), PLAIN)

    def request(self, site: Site, endpoint: str) -> bytes:
        model = f"tensorzero::model_name::{endpoint}"
        return openai_request(site, "/openai/v1/chat/completions", model, endpoint)


def _interpreter() -> Path:
    return environments.python("tensorzero", [f"tensorzero=={_VERSION}"])


def _port(program: Program) -> int:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        program.check()
        _, told, url = program.log.read_text(errors="replace").partition("serving at http://")
        if told and "\n" in url:
            return int(url.partition("/")[0].rpartition(":")[2])
        time.sleep(0.1)
    raise Failed(f"does not start: {program.end_of_log()}")
