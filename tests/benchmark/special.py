"""Figures of ours alone: two workers, and what refreshing does to the event loop."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tests.benchmark import http, measures, progress, quota
from tests.benchmark.control_plane import ControlPlane
from tests.benchmark.gateways.ours import Ours
from tests.benchmark.measures import Bench, Figures
from tests.benchmark.programs import Failed
from tests.benchmark.results import Results, Row
from tests.benchmark.rounds import Measure, Plan, measure_once
from tests.benchmark.site import PLAIN, Site

_SHARE = 0.3  # of a core, for each of two workers beside what calls them
_CONNECTIONS = 64  # so many that the kernel splits them evenly between two workers
_MODELS = 100
_LAG = "sagemaker_proxy_event_loop_lag_seconds"
_REFRESHING_SECONDS = 120.0  # with a sample each half-second: of fewer, p99 is the worst one


def measure_variants(
    site: Site, control_plane: ControlPlane, plan: Plan, results: Results, *, quick: bool
) -> None:
    """Start ours in other ways and measure those."""
    with_variant(site, Ours(label="ours-one-worker"), plan, results, "one worker", _capped)
    two = Ours(label="ours-two-workers", workers=2)
    with_variant(site, two, plan, results, "two workers", _capped)
    rate = (results.value("ours", "plain_per_second") or 0) / 2
    if rate:
        _measure_refreshing(site, control_plane, plan, results, rate, 10 if quick else None)


def with_variant(
    site: Site, ours: Ours, plan: Plan, results: Results, name: str, take: Measure
) -> None:
    """Start one variant, measure it, end it; a failure is told in its row."""
    row = results.rows.setdefault(ours.name, Row(ours.name, f"{ours.title}, {name}", ours.tls))
    try:
        with progress.step(f"start {ours.name}"):
            running = ours.start(site)
    except Failed as exc:
        row.missing = str(exc)
        progress.say(f"missing: {exc}")
        return
    bench = Bench(site, ours, running, plan.seconds)
    measure_once(bench, name, take, results)
    site.programs.stop(running.program)


def _capped(bench: Bench) -> Figures:
    """What its workers serve when each has a part of a core, so that there is room for the load."""
    _, *workers = bench.running.pids()
    with quota.capped(workers, _SHARE):
        done = bench.load(PLAIN, seconds=bench.seconds.plain, connections=_CONNECTIONS)
    return {
        "capped_per_second": done.answers / done.seconds,
        "capped_cpu_us": done.gateway_cpu / done.answers * 1e6,
        "capped_gateway_share": done.gateway_cpu / done.seconds,
        "capped_load_share": (done.generator_cpu + done.upstream_cpu) / done.seconds,
    }


def _measure_refreshing(
    site: Site,
    control_plane: ControlPlane,
    plan: Plan,
    results: Results,
    rate: float,
    seconds: float | None,
) -> None:
    """Half load, with a catalogue listed each second and credentials renewed at each look."""
    listed = control_plane.endpoints
    control_plane.endpoints = [*listed, *(f"other-{n}" for n in range(_MODELS))]
    ours = Ours(
        label="ours-refreshing",
        config="[catalog]\nrefresh_seconds = 1",
        environment={
            "AWS_ACCESS_KEY_ID": "",
            "AWS_SECRET_ACCESS_KEY": "",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": control_plane.credentials_url,
        },
    )

    def take(bench: Bench) -> Figures:
        return _lag(bench, rate, seconds or _REFRESHING_SECONDS, control_plane)

    with_variant(site, ours, plan, results, "refreshing", take)
    control_plane.endpoints = listed


def _lag(bench: Bench, rate: float, seconds: float, control_plane: ControlPlane) -> Figures:
    control_plane.wait_until_described()
    before = lag_buckets(_metrics(bench))
    began = control_plane.listed, control_plane.issued
    done = bench.load(
        PLAIN,
        *["--rate", f"{rate:.2f}"],
        seconds=seconds,
        connections=measures.OPEN_CONNECTIONS,
    )
    listed, issued = control_plane.listed - began[0], control_plane.issued - began[1]
    if not listed or not issued:
        raise Failed(f"refreshed too seldom: {listed} lists, {issued} credentials")
    after = lag_buckets(_metrics(bench))
    counts = {bound: count - before.get(bound, 0) for bound, count in after.items()}
    return {
        "lag_p99_ms": quantile(counts, 0.99) * 1000,
        "lag_samples": float(max(counts.values())),
        "catalogue_refreshes": float(listed),
        "credential_refreshes": float(issued),
        "refreshing_p50_ms": done.latency.at(50) / 1000,
        "refreshing_p99_ms": done.latency.at(99) / 1000,
        "refreshing_p99.9_ms": done.latency.at(99.9) / 1000,
    }


def _metrics(bench: Bench) -> str:
    request = (
        f"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Authorization: Bearer {bench.site.key}\r\n\r\n"
    )
    return http.read_all(bench.running.port, request.encode(), tls=bench.gateway.tls)


def lag_buckets(metrics: str) -> dict[float, float]:
    """How many of the lags that Prometheus is told were at most so many seconds."""
    found = re.findall(rf'^{_LAG}_bucket{{le="([^"]+)"}} (\S+)', metrics, re.MULTILINE)
    return {float(bound): float(count) for bound, count in found}


def quantile(counts: Mapping[float, float], share: float) -> float:
    """The value below which `share` of a histogram is, as Prometheus takes it.

    `counts` are cumulative, by upper bound; in a bucket the values are taken for even.
    """
    total = max(counts.values(), default=0.0)
    if not total:
        raise Failed("nothing was observed")
    wanted, low, below = share * total, 0.0, 0.0
    for bound in sorted(counts):
        if counts[bound] >= wanted:
            if bound == float("inf"):
                return low
            return low + (bound - low) * (wanted - below) / (counts[bound] - below)
        low, below = bound, counts[bound]
    return low
