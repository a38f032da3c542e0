"""The upstream, the load generator and ours, for about a second each."""

import os
from collections.abc import Iterator

import pytest

from tests.benchmark import build, measures, site
from tests.benchmark.control_plane import ControlPlane
from tests.benchmark.gateways.ours import Ours
from tests.benchmark.measures import Bench, Seconds
from tests.benchmark.programs import Programs

SHORT = Seconds(plain=1.0, streams=0.5, latency=0.5, handshakes=0.3, warmup=0.2)

if reason := build.why_not():
    pytest.skip(reason, allow_module_level=True)
if len(os.sched_getaffinity(0)) < 2:
    pytest.skip("two cores are needed", allow_module_level=True)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    cores = os.sched_getaffinity(0)
    try:
        with ControlPlane(site.ENDPOINTS) as control_plane, Programs() as programs:
            place = site.prepare(programs, control_plane, tmp_path_factory.mktemp("run"))
            ours = Ours(label="ours-smoke")
            yield Bench(place, ours, ours.start(place), SHORT)
    finally:
        os.sched_setaffinity(0, cores)


def test_whole_answers_are_counted(bench: Bench) -> None:
    figures = measures.plain(bench)
    assert figures["plain_per_second"] > 10
    assert 10 < figures["plain_cpu_us"] < 100_000


def test_chunks_are_counted_and_timed(bench: Bench) -> None:
    done = bench.load(site.PACED, "--wait-open", seconds=3, connections=4)
    assert done.errors == 0
    assert done.streams >= 4
    assert done.chunks == pytest.approx(4 * 100 * 3, rel=0.25)
    assert done.gap.at(50) == pytest.approx(10_000, rel=0.5)
    assert 0 < done.delay.at(50) < 1_000_000


def test_a_constant_rate_is_kept(bench: Bench) -> None:
    done = bench.load(site.PLAIN, "--rate", "40", seconds=1, connections=8)
    assert done.answers + done.unanswered == pytest.approx(40, abs=10)


def test_handshakes_are_counted(bench: Bench) -> None:
    assert measures.handshakes(bench)["handshakes_per_second"] > 1
