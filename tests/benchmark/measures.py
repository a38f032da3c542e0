"""What is measured of a gateway that runs; each measure returns figures by name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tests.benchmark import http, load, procfs
from tests.benchmark.gateways.direct import Direct
from tests.benchmark.gateways.gateway import Gateway, Running
from tests.benchmark.load import Load
from tests.benchmark.programs import Failed
from tests.benchmark.site import FAST, PACED, PLAIN, SLOW, Site

Figures = dict[str, float]

CONNECTIONS = 16
STREAMS = 64
MANY_STREAMS = 500
MOST_STREAMS = 2000
OPEN_CONNECTIONS = 64  # that share a constant rate

_CHUNKS_A_SECOND = 100  # of one paced stream
_INTERVAL_US = 10_000.0
_MEGA = 1_000_000
_FAILED_SHARE = 0.01  # of requests or connections that may fail before a figure is none


@dataclass(frozen=True)
class Seconds:
    """How long things are measured, and warmed up before."""

    plain: float = 4.0
    streams: float = 4.0
    latency: float = 5.0
    handshakes: float = 3.0
    warmup: float = 1.0


@dataclass(frozen=True)
class Bench:
    """One gateway that runs, and all that puts load on it."""

    site: Site
    gateway: Gateway
    running: Running
    seconds: Seconds

    def load(
        self,
        endpoint: str,
        *arguments: str,
        seconds: float,
        connections: int = CONNECTIONS,
        requests: Sequence[bytes] = (),
        meanwhile: Callable[[], None] | None = None,
    ) -> Load:
        """Call one endpoint for a while, or send other requests. Raises `Failed`."""
        self.running.program.check()
        sent = requests or [self.gateway.request(self.site, endpoint)]
        path = http.write_requests(self.site.run / f"requests-{threading.get_ident()}", sent)
        command = ["--port", str(self.running.port), "--requests", str(path)]
        command += ["--tls"] if self.gateway.tls else []
        command += ["--seconds", str(seconds), "--warmup", str(self.seconds.warmup)]
        command += ["--connections", str(connections), *arguments]
        done = load.run(
            self.site.load,
            command,
            gateway=self.running.pids,
            upstream=[self.site.upstream.pid],
            meanwhile=meanwhile,
        )
        if self.gateway.tls and not done.protocol.startswith("TLSv1.3"):
            raise Failed(f"speaks {done.protocol}, not TLS 1.3")
        return done

    def memory(self) -> procfs.Memory:
        """What all its processes hold now."""
        each = [procfs.memory(pid) for pid in self.running.pids()]
        return procfs.Memory(sum(one.pss for one in each), sum(one.rss for one in each))

    def worker_memory(self) -> procfs.Memory:
        """What its largest process holds now."""
        return max((procfs.memory(pid) for pid in self.running.pids()), key=lambda one: one.rss)


def plain(bench: Bench) -> Figures:
    """Whole answers, as many as it can."""
    done = bench.load(PLAIN, seconds=bench.seconds.plain)
    _check(done, done.answers)
    return {
        "plain_per_second": done.answers / done.seconds,
        "plain_per_cpu_second": done.answers / done.gateway_cpu,
        "plain_cpu_us": done.gateway_cpu / done.answers * 1e6,
        "plain_p50_ms": done.latency.at(50) / 1000,
        "plain_p99_ms": done.latency.at(99) / 1000,
        **_shares(done, "plain"),
    }


def fast_streams(bench: Bench) -> Figures:
    """Streams whose chunks come as fast as they are taken."""
    done = bench.load(FAST, seconds=bench.seconds.streams)
    _check(done, done.chunks)
    return {
        "fast_chunks_per_second": done.chunks / done.seconds,
        "fast_cpu_us": done.gateway_cpu / done.chunks * 1e6,
        **_shares(done, "fast"),
    }


def paced_streams(bench: Bench) -> Figures:
    """Few streams with a chunk each 10 ms, so that nothing is at its limit."""
    done = bench.load(
        PACED, "--spread", "1", "--wait-open", seconds=bench.seconds.streams, connections=STREAMS
    )
    _check(done, done.chunks)
    return {
        "paced_cpu_us": done.gateway_cpu / done.chunks * 1e6,
        "paced_delivered": _delivered(done, STREAMS),
        "paced_delay_p50_ms": done.delay.at(50) / 1000,
        "paced_delay_p99_ms": done.delay.at(99) / 1000,
        "paced_gap_p99_ms": done.gap.at(99) / 1000,
        "first_byte_p50_ms": (done.first_chunk.at(50) - _INTERVAL_US) / 1000,
        "first_byte_p99_ms": (done.first_chunk.at(99) - _INTERVAL_US) / 1000,
        **_shares(done, "paced"),
    }


def many_streams(bench: Bench) -> Figures:
    """Many such streams, and what they hold of memory."""
    held: list[tuple[procfs.Memory, procfs.Memory]] = []
    done = bench.load(
        PACED,
        *["--spread", "1", "--wait-open"],
        seconds=bench.seconds.streams,
        connections=MANY_STREAMS,
        meanwhile=lambda: held.append((bench.memory(), bench.worker_memory())),
    )
    _check(done, done.chunks)
    return {
        "many_delivered": _delivered(done, MANY_STREAMS),
        "many_cpu_us": done.gateway_cpu / done.chunks * 1e6,
        "many_delay_p50_ms": done.delay.at(50) / 1000,
        "many_delay_p99_ms": done.delay.at(99) / 1000,
        **_held(held, "many"),
        **_shares(done, "many"),
    }


def most_streams(bench: Bench) -> Figures:
    """Two thousand open streams, slow ones: what they hold, and whether all are served."""
    held: list[tuple[procfs.Memory, procfs.Memory]] = []
    done = bench.load(
        SLOW,
        *["--spread", "2", "--wait-open"],
        seconds=bench.seconds.streams,
        connections=MOST_STREAMS,
        meanwhile=lambda: held.append((bench.memory(), bench.worker_memory())),
    )
    return {
        "most_open": float(done.open_streams),
        "most_errors": float(done.errors),
        **_held(held, "most"),
    }


def idle_memory(bench: Bench) -> Figures:
    """What it holds with no stream open."""
    return _held([(bench.memory(), bench.worker_memory())], "idle")


def handshakes(bench: Bench) -> Figures:
    """Connections that are opened and closed; none without TLS."""
    if not bench.gateway.tls:
        return {}
    done = bench.load(PLAIN, "--handshakes", seconds=bench.seconds.handshakes)
    if not done.handshakes:
        raise Failed("no handshake succeeded")
    return {
        "handshakes_per_second": done.handshakes / done.seconds,
        "handshake_cpu_us": done.gateway_cpu / done.handshakes * 1e6,
    }


def at_rate(bench: Bench, rate: float, prefix: str) -> Figures:
    """How long answers take at a constant rate, and how much of that the gateway adds."""
    done = _at_rate(bench, rate, bench.seconds.latency)
    latency = done.latency
    nothing = Direct()
    direct = replace(bench, gateway=nothing, running=nothing.start(bench.site))
    least = _at_rate(direct, rate, bench.seconds.latency / 2).latency
    curve = {f"{prefix}_p{percent:g}_ms": us / 1000 for percent, us in latency.percentiles.items()}
    added = {
        f"{prefix}_added_p{percent}_ms": (latency.at(percent) - least.at(percent)) / 1000
        for percent in (50, 99)
    }
    return {f"{prefix}_rate": rate, **curve, **added, **_shares(done, prefix)}


def _at_rate(bench: Bench, rate: float, seconds: float) -> Load:
    done = bench.load(
        PLAIN,
        *["--rate", f"{rate:.2f}"],
        seconds=seconds,
        connections=OPEN_CONNECTIONS,
    )
    _check(done, done.answers)
    return done


def _held(held: list[tuple[procfs.Memory, procfs.Memory]], prefix: str) -> Figures:
    ((whole, worker),) = held
    return {
        f"{prefix}_pss_mb": whole.pss / _MEGA,
        f"{prefix}_rss_mb": whole.rss / _MEGA,
        f"{prefix}_worker_rss_mb": worker.rss / _MEGA,
        f"{prefix}_worker_pss_mb": worker.pss / _MEGA,
    }


def _delivered(done: Load, streams: int) -> float:
    return done.chunks / (done.seconds * streams * _CHUNKS_A_SECOND)


def _shares(done: Load, prefix: str) -> Figures:
    """How busy the gateway's core and the other one were: the load must not be the bound."""
    return {
        f"{prefix}_gateway_share": done.gateway_cpu / done.seconds,
        f"{prefix}_load_share": (done.generator_cpu + done.upstream_cpu) / done.seconds,
    }


def _check(done: Load, measured: int) -> None:
    if not measured:
        raise Failed(f"served nothing within {done.seconds:.0f} s: {_failures(done)}")
    if done.errors > _FAILED_SHARE * (done.answers + done.broken + done.open_streams):
        raise Failed(_failures(done))


def _failures(done: Load) -> str:
    return f"{done.refused} refused, {done.broken} broken, statuses {done.statuses}"
