"""Measures gateways in turn, round after round, so that what changes meanwhile meets them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.benchmark import measures, progress
from tests.benchmark.gateways.gateway import Gateway
from tests.benchmark.measures import Bench, Figures, Seconds
from tests.benchmark.programs import Failed
from tests.benchmark.results import Results, Row
from tests.benchmark.site import Site

Measure = Callable[[Bench], Figures]


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    seconds: Seconds
    slow_seconds: Seconds  # for gateways that answer so seldom that a short time says little


FULL = Plan(5, Seconds(), Seconds(plain=8, streams=6, latency=8))
QUICK = Plan(
    1,
    Seconds(plain=1.5, streams=1.5, latency=2, handshakes=1, warmup=0.4),
    Seconds(plain=3, streams=2, latency=3, handshakes=1, warmup=0.5),
)

# Their answers take milliseconds of CPU.
_SLOW = ("litellm", "predecessor", "portkey")

# What takes them long, or nobody is judged by, is measured in the first round alone.
_SELDOM = (*_SLOW, "nginx-plain", "hello-plain")
_SELDOM_TAKEN = ("fast streams", "500 streams")


def start_all(site: Site, gateways: Sequence[Gateway], plan: Plan, results: Results) -> list[Bench]:
    """Install and start what can be; the rows of the others say why not."""
    benches = []
    for gateway in gateways:
        row = Row(gateway.name, gateway.name, gateway.tls)
        results.rows[gateway.name] = row
        try:
            with progress.step(f"start {gateway.name}"):
                gateway.install()
                row.title = gateway.title
                running = gateway.start(site)
        except (Failed, OSError) as exc:
            row.missing = str(exc)
            progress.say(f"missing: {exc}")
            continue
        seconds = plan.slow_seconds if gateway.name in _SLOW else plan.seconds
        benches.append(Bench(site, gateway, running, seconds))
    return benches


def measure(
    benches: Sequence[Bench], named: dict[str, Measure], rounds: int, results: Results
) -> None:
    """Take each measure of each gateway, in every round; the order turns from round to round."""
    for number in range(rounds):
        for name, take in named.items():
            start = number % len(benches) if benches else 0
            for bench in [*benches[start:], *benches[:start]]:
                if number and name in _SELDOM_TAKEN and bench.gateway.name in _SELDOM:
                    continue
                row = results.rows[bench.gateway.name]
                _take(bench, row, number, name, take, f"round {number + 1} of {rounds}: ")


def measure_once(bench: Bench, name: str, take: Measure, results: Results) -> None:
    """Take one measure of one gateway, outside of the rounds."""
    _take(bench, results.rows[bench.gateway.name], 0, name, take, "")


def _take(bench: Bench, row: Row, number: int, name: str, take: Measure, where: str) -> None:
    if name in row.problems:
        return
    try:
        with progress.step(f"{where}{name}, {row.title}"):
            row.add(number, take(bench))
    except (Failed, OSError, ValueError) as exc:
        row.problems[name] = str(exc)
        progress.say(f"failed: {exc}")


def at_half_load(results: Results, rival: str) -> Measure:
    """The latency at half of what a gateway can do; nginx's also at half of what `rival` can."""

    def take(bench: Bench) -> Figures:
        own = results.value(bench.gateway.name, "plain_per_second")
        if own is None:
            raise Failed("its capacity is not known")
        figures = measures.at_rate(bench, own / 2, "half")
        other = results.value(rival, "plain_per_second")
        if other and bench.gateway.name == "nginx":
            figures |= measures.at_rate(bench, other / 2, "rival")
        return figures

    return take
