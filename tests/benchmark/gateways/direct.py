"""No gateway: the upstream itself, whose latency is no gateway's doing."""

from dataclasses import dataclass

from tests.benchmark.gateways.gateway import Running, sagemaker_request
from tests.benchmark.site import Site


@dataclass(frozen=True)
class Direct:
    """The upstream that runs already."""

    name: str = "direct"
    title: str = "no gateway"
    tls: bool = False
    streams: bool = True

    def install(self) -> None:
        pass

    def start(self, site: Site) -> Running:
        return Running(site.upstream, int(site.upstream_url.rpartition(":")[2]))

    def request(self, site: Site, endpoint: str) -> bytes:
        return sagemaker_request(site, endpoint, {})
