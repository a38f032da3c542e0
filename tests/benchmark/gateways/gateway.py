"""What a gateway is to the benchmark."""

from dataclasses import dataclass
from typing import Protocol

from tests.benchmark import http, procfs
from tests.benchmark.programs import Program
from tests.benchmark.site import Site

START_SECONDS = 30.0


@dataclass(frozen=True)
class Running:
    """A gateway that serves."""

    program: Program
    port: int

    def pids(self) -> list[int]:
        """All its processes, the one first that was started."""
        return procfs.tree(self.program.pid)


class Gateway(Protocol):
    """A gateway that can be installed, started and called."""

    @property
    def name(self) -> str:
        """What figures are filed under."""

    @property
    def title(self) -> str:
        """What a reader sees, version included."""

    @property
    def tls(self) -> bool:
        """Whether clients speak TLS to it."""

    @property
    def streams(self) -> bool:
        """Whether it passes a model's stream on."""

    def install(self) -> None:
        """Have all that it needs in a place of its own. Raises `Failed`."""

    def start(self, site: Site) -> Running:
        """Start it on the gateway's core; done when it has answered. Raises `Failed`."""

    def request(self, site: Site, endpoint: str) -> bytes:
        """The request that has it call an endpoint."""


def is_stream(endpoint: str) -> bool:
    """Whether the upstream answers calls of this endpoint with a stream."""
    return endpoint.startswith("stream-")


def bearer(site: Site) -> dict[str, str]:
    """The header that lets a client in."""
    return {"Authorization": f"Bearer {site.key}"}


def openai_request(site: Site, path: str, model: str, endpoint: str, key: str = "") -> bytes:
    """A chat request to a gateway that speaks OpenAI's API; `key` is the run's unless given."""
    body = http.chat(model, stream=is_stream(endpoint))
    return http.request(path, body, {"Authorization": f"Bearer {key or site.key}"})


def sagemaker_request(
    site: Site, endpoint: str, headers: dict[str, str], prefix: str = ""
) -> bytes:
    """The same to a gateway with SageMaker's own paths."""
    operation = "invocations-response-stream" if is_stream(endpoint) else "invocations"
    body = http.chat(endpoint, stream=is_stream(endpoint))
    return http.request(f"{prefix}/endpoints/{endpoint}/{operation}", body, headers)


def served(
    gateway: Gateway,
    site: Site,
    running: Running,
    endpoint: str,
    seconds: float = START_SECONDS,
) -> Running:
    """`running`, once a call of this endpoint is answered. Raises `Failed`."""
    http.wait_until_served(
        running.program,
        running.port,
        gateway.request(site, endpoint),
        tls=gateway.tls,
        seconds=seconds,
    )
    return running
