"""Runs the load generator against one gateway, and what its processes use meanwhile."""

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmark import procfs
from tests.benchmark.programs import Failed

_SLACK_SECONDS = 120.0


@dataclass(frozen=True)
class Times:
    """How long something took, in microseconds, by the share of cases in percent."""

    count: int
    mean: float = 0.0
    percentiles: dict[float, float] = field(default_factory=dict)

    def at(self, percent: float) -> float:
        """Return one percentile; `Failed` if nothing was measured."""
        if not self.count:
            raise Failed("nothing was measured")
        return self.percentiles[percent]


@dataclass(frozen=True)
class Load:
    """What came of one run. Times of a chunk are from when the upstream had it due."""

    seconds: float
    answers: int
    chunks: int
    streams: int  # that have ended
    open_streams: int  # the most at a time
    refused: int
    broken: int
    unanswered: int
    handshakes: int
    protocol: str
    statuses: dict[str, int]
    latency: Times
    first_chunk: Times
    delay: Times
    gap: Times
    generator_cpu: float  # seconds
    gateway_cpu: float
    upstream_cpu: float

    @property
    def errors(self) -> int:
        """How many requests failed."""
        return self.refused + self.broken


def parse(line: str, gateway_cpu: float, upstream_cpu: float) -> Load:
    """Read the load generator's line of JSON."""
    told = json.loads(line)
    return Load(
        seconds=told["seconds"],
        answers=told["answers"],
        chunks=told["chunks"],
        streams=told["streams"],
        open_streams=told["open_streams"],
        refused=told["refused"],
        broken=told["broken"],
        unanswered=told["unanswered"],
        handshakes=told["handshakes"],
        protocol=told["protocol"],
        statuses=told["statuses"],
        latency=_times(told["latency"]),
        first_chunk=_times(told["first_chunk"]),
        delay=_times(told["delay"]),
        gap=_times(told["gap"]),
        generator_cpu=told["cpu_seconds"],
        gateway_cpu=gateway_cpu,
        upstream_cpu=upstream_cpu,
    )


def _times(told: dict[str, Any]) -> Times:
    percentiles = {float(share): float(us) for share, us in told.get("percentiles", {}).items()}
    return Times(told["count"], told.get("mean", 0.0), percentiles)


def run(
    program: Path,
    arguments: Sequence[str],
    *,
    gateway: Callable[[], Sequence[int]],
    upstream: Sequence[int],
    meanwhile: Callable[[], None] | None = None,
) -> Load:
    """Put load on a gateway. Raises `Failed`.

    `gateway` tells the ids of its processes, which may be replaced; `meanwhile` is called once,
    after the measured time has begun.
    """
    command = [str(program), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        _expect(process, "begin")
        pids = gateway()
        before = procfs.cpu_seconds(pids), procfs.cpu_seconds(upstream)
        if meanwhile:
            meanwhile()
        _expect(process, "end")
        after = procfs.cpu_seconds(pids), procfs.cpu_seconds(upstream)
        line = process.stdout.readline()
        process.wait(_SLACK_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
    return parse(line, after[0] - before[0], after[1] - before[1])


def _expect(process: "subprocess.Popen[str]", word: str) -> None:
    assert process.stdout is not None
    if process.stdout.readline().strip() != word:
        _, said = process.communicate()
        raise Failed(said.strip() or "the load generator ended early")
