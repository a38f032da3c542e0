"""The metrics of all workers together, as Prometheus reads them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

from proxy import __version__
from proxy.metric_families import FAMILIES, PREFIX, Family, Kind
from proxy.metric_files import MetricFiles, Series


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


@dataclass(frozen=True, slots=True, eq=False)
class Counted(Collector):
    """What has been counted."""

    series: Mapping[Series, Sequence[float]]

    def collect(self) -> Iterator[Metric]:
        """It as metrics."""
        metrics = {family.name: _metric(family) for family in FAMILIES}
        bounds = {family.name: _bounds(family) for family in FAMILIES}
        for (name, labels), numbers in self.series.items():
            metric = metrics[name]
            if isinstance(metric, HistogramMetricFamily):
                buckets = list(zip(bounds[name], accumulate(numbers[:-1]), strict=True))
                metric.add_metric(labels, buckets, numbers[-1])
            else:
                metric.add_metric(labels, numbers[0])
        return (metric for metric in metrics.values() if metric.samples)


class Exposition:
    """Writes the metrics out, one reader at a time, in a thread: it reads every worker's files."""

    def __init__(self, files: MetricFiles) -> None:
        """``files`` are this worker's, and lead to those of the others."""
        self._files = files
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
        registry.register(Counted(self._files.read()))
        registry.register(facts)
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type


def _metric(family: Family) -> CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily:
    name = f"{PREFIX}_{family.name}"
    match family.kind:
        case Kind.COUNTER:
            return CounterMetricFamily(name, family.help, labels=family.labels)
        case Kind.GAUGE:
            return GaugeMetricFamily(name, family.help, labels=family.labels)
        case Kind.HISTOGRAM:
            return HistogramMetricFamily(name, family.help, labels=family.labels)


def _bounds(family: Family) -> list[str]:
    """As Prometheus writes them."""
    return [*map(str, family.bounds), "+Inf"]


def _gauge(name: str, help_text: str, value: float, **labels: str) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", help_text, labels=tuple(labels))
    family.add_metric(tuple(labels.values()), value)
    return family
