"""The predecessor's way: FastAPI and uvicorn, with boto3's calls in threads."""

from dataclasses import dataclass
from pathlib import Path

from tests.benchmark import environments
from tests.benchmark.gateways.gateway import Running, openai_request, served
from tests.benchmark.site import PLAIN, Site, free_port

_REQUIREMENTS = ("fastapi==0.121.0", "uvicorn[standard]==0.38.0", "boto3==1.42.0")
_SERVER = Path(__file__).with_name("predecessor_server.py")


@dataclass(frozen=True)
class Predecessor:
    """One worker; see predecessor_server.py."""

    name: str = "predecessor"
    title: str = "FastAPI and boto3, the predecessor's way"
    tls: bool = True
    streams: bool = True

    def install(self) -> None:
        _interpreter()

    def start(self, site: Site) -> Running:
        port = free_port()
        program = site.programs.start(
            self.name,
            [
                *[str(_interpreter()), "-m", "uvicorn", _SERVER.stem + ":application"],
                *["--app-dir", str(_SERVER.parent), "--no-access-log", "--log-level", "warning"],
                *["--host", "127.0.0.1", "--port", str(port), "--backlog", "4096"],
                *["--ssl-certfile", str(site.certificate)],
                *["--ssl-keyfile", str(site.private_key)],
            ],
            cores=site.gateway_cores,
            log=site.run / self.name / "output.log",
            environment=site.environment() | {"API_KEY": site.key},
        )
        return served(self, site, Running(program, port), PLAIN)

    def request(self, site: Site, endpoint: str) -> bytes:
        return openai_request(site, "/chat/completions", endpoint, endpoint)


def _interpreter() -> Path:
    return environments.python("predecessor", _REQUIREMENTS)
