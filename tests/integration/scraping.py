"""What a proxy tells Prometheus, read as Prometheus reads it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from tests.integration.running import RunningProxy

PREFIX = "sagemaker_proxy_"


@dataclass(frozen=True)
class Scrape:
    """All samples of one moment."""

    text: str

    def samples(self, name: str, **labels: str) -> list[tuple[dict[str, str], float]]:
        """The labels and values of a metric's samples that have these labels."""
        return [
            (sample.labels, sample.value)
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
            if sample.name == PREFIX + name and labels.items() <= sample.labels.items()
        ]

    def value(self, name: str, **labels: str) -> float:
        """The sum of such samples; 0 if there is none."""
        return sum(value for _, value in self.samples(name, **labels))

    def names(self) -> set[str]:
        """The names of all samples."""
        families = text_string_to_metric_families(self.text)
        return {sample.name for family in families for sample in family.samples}


def scrape(proxy: RunningProxy) -> Scrape:
    """Ask a proxy now, over a connection of its own."""
    with proxy.session() as session:
        answer = session.get(f"{proxy.url}/metrics", timeout=30)
    assert answer.status_code == 200, answer.text
    return Scrape(answer.text)


def scrape_until(
    proxy: RunningProxy, wanted: Callable[[Scrape], bool], seconds: float = 15
) -> Scrape:
    """Ask until it tells what is wanted."""
    deadline = time.monotonic() + seconds
    while True:
        found = scrape(proxy)
        if wanted(found):
            return found
        assert time.monotonic() < deadline, found.text
        time.sleep(0.05)
