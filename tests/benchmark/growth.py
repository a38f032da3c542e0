"""What a request costs ours as there are more keys, models and connections, and large bodies."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.benchmark import http, measures, progress
from tests.benchmark.control_plane import ControlPlane
from tests.benchmark.gateways.gateway import openai_request, sagemaker_request
from tests.benchmark.gateways.ours import Ours, other_key
from tests.benchmark.load import Load
from tests.benchmark.measures import Bench, Seconds
from tests.benchmark.programs import Failed
from tests.benchmark.results import Results
from tests.benchmark.site import PLAIN, Site

_KEYS = (10, 100, 1_000, 10_000, 100_000)
_MODELS = (1, 10, 100, 1_000)
_CONNECTIONS = (16, 64, 256, 1_000, 2_000)
_BODIES = (6_000_000, 25_000_000)
_BODY_CONNECTIONS = 2
_BODY_RATE = 200.0  # of the small requests that go on meanwhile
_SPREAD = 200  # keys or models that requests are spread over
_MEGA = 1_000_000

Point = dict[str, float]


def measure(site: Site, control_plane: ControlPlane, seconds: Seconds, results: Results) -> None:
    """Measure every curve; a point that fails is left out, and why is told."""
    growth = results.growth
    growth["keys"] = _points("keys", _KEYS, lambda number: _with_keys(site, seconds, number))
    growth["models"] = _points(
        "models", _MODELS, lambda number: _with_models(site, control_plane, seconds, number)
    )
    with _running(site, Ours(label="ours-growth"), seconds) as bench:
        growth["connections"] = _points(
            "connections",
            _CONNECTIONS,
            lambda number: {
                "connections": number,
                **_cost(bench, bench.gateway.request(site, PLAIN), connections=number),
            },
        )
    growth["large bodies, beside 200 small requests a second"] = [
        *_points("bytes beside small requests", (0,), lambda _: _without_bodies(site, seconds)),
        *_points(
            "bytes sent", _BODIES, lambda size: _with_bodies(site, seconds, size, answer=False)
        ),
        *_points(
            "bytes answered", _BODIES, lambda size: _with_bodies(site, seconds, size, answer=True)
        ),
    ]


def _points(what: str, numbers: Sequence[int], take: Callable[[int], Point]) -> list[Point]:
    points = []
    for number in numbers:
        try:
            with progress.step(f"growth: {number:,} {what}"):
                points.append(take(number))
        except (Failed, OSError) as exc:
            progress.say(f"failed: {exc}")
    return points


@contextmanager
def _running(site: Site, ours: Ours, seconds: Seconds) -> Iterator[Bench]:
    running = ours.start(site)
    yield Bench(site, ours, running, seconds)
    site.programs.stop(running.program)


def _with_keys(site: Site, seconds: Seconds, number: int) -> Point:
    with _running(site, Ours(label="ours-growth", other_keys=number), seconds) as bench:
        step = max(number // _SPREAD, 1)
        requests = [
            openai_request(site, "/v1/chat/completions", PLAIN, PLAIN, other_key(each))
            for each in range(0, number, step)
        ]
        return {"keys": number, **_cost(bench, *requests)}


def _with_models(site: Site, control_plane: ControlPlane, seconds: Seconds, number: int) -> Point:
    before = control_plane.endpoints
    names = [f"{PLAIN}-{each}" for each in range(number - 1)]
    control_plane.endpoints = [PLAIN, *names]
    try:
        with _running(site, Ours(label="ours-growth"), seconds) as bench:
            step = max(number // _SPREAD, 1)
            called = control_plane.endpoints[::step]
            requests = [bench.gateway.request(site, name) for name in called]
            described = control_plane.wait_until_described()
            cost = _cost(bench, *requests)
            return {"models": number, **cost, "s until described": described}
    finally:
        control_plane.endpoints = before


def _cost(bench: Bench, *requests: bytes, connections: int = measures.CONNECTIONS) -> Point:
    done = bench.load(
        PLAIN, seconds=bench.seconds.plain, connections=connections, requests=requests
    )
    if done.errors or not done.answers:
        raise Failed(f"{done.errors} errors, {done.answers} answers")
    return {
        "CPU µs": done.gateway_cpu / done.answers * 1e6,
        "requests a second": done.answers / done.seconds,
        "MB (RSS of the worker)": bench.worker_memory().rss / _MEGA,
    }


def _without_bodies(site: Site, seconds: Seconds) -> Point:
    with _running(site, Ours(label="ours-growth"), seconds) as bench:
        return _body_point(bench, _small_requests(bench), 0, 0, 0.0)


def _with_bodies(site: Site, seconds: Seconds, size: int, *, answer: bool) -> Point:
    """Send or receive large bodies on a few connections, and small requests at a constant rate."""
    with _running(site, Ours(label="ours-growth"), seconds) as bench:
        headers = {"Authorization": f"Bearer {site.key}"}
        if answer:
            request = sagemaker_request(site, f"answer-{size}", headers)
        else:
            path = f"/endpoints/{PLAIN}/invocations"
            request = http.request(path, b"x" * size, headers)
        large: list[Load] = []

        def send() -> None:
            # It begins before the small requests do, and ends after them.
            longer = replace(bench.seconds, warmup=0.2)
            large.append(
                replace(bench, seconds=longer).load(
                    PLAIN,
                    seconds=bench.seconds.latency + bench.seconds.warmup + 1,
                    connections=_BODY_CONNECTIONS,
                    requests=[request],
                )
            )

        sender = threading.Thread(target=send)
        sender.start()
        try:
            small = _small_requests(bench)
        finally:
            sender.join()
        if not large or large[0].errors or not large[0].answers:
            raise Failed(f"large bodies failed: {large}")
        rate = large[0].answers / large[0].seconds
        return _body_point(bench, small, 0 if answer else size, size if answer else 0, rate)


def _small_requests(bench: Bench) -> Load:
    return bench.load(
        PLAIN,
        *["--rate", f"{_BODY_RATE}"],
        seconds=bench.seconds.latency,
        connections=measures.OPEN_CONNECTIONS,
    )


def _body_point(bench: Bench, small: Load, sent: float, received: float, rate: float) -> Point:
    worker = max(bench.running.pids(), key=peak_bytes)
    return {
        "MB sent": sent / _MEGA,
        "MB answered": received / _MEGA,
        "large a second": rate,
        "small p50 ms": small.latency.at(50) / 1000,
        "small p99 ms": small.latency.at(99) / 1000,
        "worker's peak MB": peak_bytes(worker) / _MEGA,
    }


def peak_bytes(pid: int) -> int:
    """The most memory that a process has ever held."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
