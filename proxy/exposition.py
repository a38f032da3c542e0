"""The metrics of all workers together, as Prometheus reads them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from proxy import __version__
from proxy.metrics import PREFIX


@dataclass(frozen=True, slots=True)
class Facts(Collector):
    """What the worker that is asked knows of this moment; None: nothing.

    Times are in seconds since the epoch.
    """

    catalog_age_seconds: float | None = None
    credentials_expire: float | None = None
    certificate_expires: float | None = None
    is_limits_backend_up: bool | None = None

    def collect(self) -> Iterator[Metric]:
        """It as metrics."""
        yield _gauge("build_info", "1, of this version", 1, version=__version__)
        for name, help_text, value in (
            (
                "catalog_age_seconds",
                "Since the endpoints were listed",
                self.catalog_age_seconds,
            ),
            (
                "credentials_expiry_timestamp_seconds",
                "When the AWS credentials end, if they do",
                self.credentials_expire,
            ),
            (
                "certificate_expiry_timestamp_seconds",
                "When the certificate ends",
                self.certificate_expires,
            ),
            (
                "limits_backend_up",
                "1 if the server that counts the limits of the keys is there, else 0",
                self.is_limits_backend_up,
            ),
        ):
            if value is not None:
                yield _gauge(name, help_text, value)


class Exposition:
    """Writes the metrics out, one reader at a time, in a thread: it reads every worker's files."""

    def __init__(self, folder: Path) -> None:
        """``folder`` holds the files."""
        self._folder = folder
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="metrics")

    async def render(self, accept: str, facts: Facts) -> tuple[bytes, str]:
        """The metrics in the format that an ``Accept`` header asks for, and its content type."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._render, accept, facts)

    def stop(self) -> None:
        """Write nothing more."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _render(self, accept: str, facts: Facts) -> tuple[bytes, str]:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(self._folder))  # type: ignore[no-untyped-call]
        registry.register(facts)
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type


def _gauge(name: str, help_text: str, value: float, **labels: str) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", help_text, labels=tuple(labels))
    family.add_metric(tuple(labels.values()), value)
    return family
