"""Five times what the proxy can do: what it takes it answers in time, and refuses the rest at once.

With the time-outs that it is shipped with: the emulator shares the machine with the clients, and
is slow at times. `make test` runs these when the others have ended: they need the machine for
themselves. `OVERLOAD_SECONDS=60` offers it for longer; `-s` shows the figures.
"""

import asyncio
import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.benchmark import build, http, load, procfs, quota, site
from tests.benchmark.control_plane import ControlPlane
from tests.benchmark.programs import Failed, Programs
from tests.emulator.containers import chat
from tests.emulator.emulator import Emulator
from tests.integration.running import RunningProxy
from tests.integration.scraping import scrape_until
from tests.soak.open_loop import Answer, Offered, OpenLoop

SECONDS = float(os.environ.get("OVERLOAD_SECONDS", "6"))
TIMES = 5

# An answer takes five tokens' time, and ten are made at once.
TOKENS, TOKEN_SECONDS = 5, 0.05
MOST, QUEUED, QUEUE_SECONDS = 10, 20, 1.0
SERVICE_SECONDS = TOKENS * TOKEN_SECONDS
CAPACITY = MOST / SERVICE_SECONDS
SLACK_SECONDS = 1.5  # of a machine that does much else
LIMITS = f"""
[limits]
max_concurrent = {MOST}
max_queued = {QUEUED}
queue_seconds = {QUEUE_SECONDS}
"""
RECOVERY_SECONDS = 5

# Where the processor is the bound, answers are counted by the worker's CPU time, for the machine
# may have other work. Without what holds clients back, goodput was 0.28 with refusals, and 0.35
# with new connections; with it, it is 0.85 or more.
LEAST_GOODPUT = 0.7
MOST_MORE_BYTES = 32 * 1024 * 1024

pytestmark = pytest.mark.timeout(120 + 2 * SECONDS)


def peak_bytes(proxy: RunningProxy) -> int:
    """The most memory that the first worker has ever held."""
    status = Path(f"/proc/{proxy.workers[0]}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def percentile(answers: list[Answer], share: float) -> float:
    return sorted(each.took for each in answers)[int(share * (len(answers) - 1))]


@pytest.fixture(scope="module")
def bounded(emulator: Emulator) -> None:
    emulator.add_endpoint("bounded", chat.application(("bounded",), TOKEN_SECONDS))


@pytest.fixture
def proxy(emulator: Emulator, bounded: None, tmp_path: Path) -> Iterator[RunningProxy]:
    with RunningProxy(tmp_path, emulator.environment(), LIMITS) as proxy:
        yield proxy


class TestMoreThanTheModelsMayBeAsked:
    async def test_it_goes_on_answering_and_refuses_the_rest(self, proxy: RunningProxy) -> None:
        said = {"model": "bounded", "messages": [{"role": "user", "content": "Tell me all"}]}
        body = json.dumps({**said, "max_tokens": TOKENS}).encode()
        clients = OpenLoop(proxy, "/v1/chat/completions", body)
        await clients.offer(CAPACITY, 1)  # what a first request loads, and connections
        before = proxy.resident_bytes()
        offered = await clients.offer(TIMES * CAPACITY, SECONDS)
        began_to_recover = time.monotonic()
        print(self.told(offered, before, peak_bytes(proxy)))

        assert set(offered.statuses) == {200, 503}
        assert offered.goodput > 0.8 * CAPACITY
        accepted, refused = offered.with_status(200), offered.with_status(503)
        longest = QUEUE_SECONDS + SERVICE_SECONDS + SLACK_SECONDS
        assert max(each.took for each in accepted) < longest
        assert {each.retry_after for each in refused} == {"1"}
        assert percentile(refused, 0.5) < SERVICE_SECONDS + SLACK_SECONDS / 2
        assert max(each.took for each in refused) < QUEUE_SECONDS + SLACK_SECONDS
        assert len(offered.health) > SECONDS
        assert {each.status for each in offered.health} == {200}
        assert max(each.took for each in offered.health) < 1 + SLACK_SECONDS
        assert peak_bytes(proxy) - before < MOST_MORE_BYTES

        while (answer := await clients.ask_once()).took > SERVICE_SECONDS + SLACK_SECONDS / 2:
            assert time.monotonic() - began_to_recover < RECOVERY_SECONDS
        assert answer.status == 200
        found = await asyncio.to_thread(
            scrape_until, proxy, lambda found: found.value("requests_open") <= 1, RECOVERY_SECONDS
        )
        assert found.value("queued") == 0

    def told(self, offered: Offered, before: int, peak: int) -> str:
        accepted, refused = offered.with_status(200), offered.with_status(503)
        return (
            f"\n{TIMES} x {CAPACITY:.0f} a second for {SECONDS:.0f} s: {dict(offered.statuses)}, "
            f"goodput {offered.goodput / CAPACITY:.0%} of capacity; "
            f"accepted p50 {percentile(accepted, 0.5):.2f} s, "
            f"longest {max(each.took for each in accepted):.2f} s; "
            f"refused p50 {percentile(refused, 0.5) * 1000:.0f} ms, "
            f"longest {max(each.took for each in refused):.2f} s; "
            f"{len(offered.health)} health checks, "
            f"longest {max(each.took for each in offered.health):.2f} s; "
            f"memory {before / 2**20:.1f} MiB before, {peak / 2**20:.1f} at most"
        )


class TestMoreNewConnectionsThanItCanTake:
    """A TLS handshake costs as much as some answers, and each client here makes one a request.

    The worker has a small share of a core, so that those who call it have enough of the rest.
    """

    SHARE = 0.15
    CAPACITY_SECONDS = 3
    PATIENCE_SECONDS = 5.0

    @pytest.fixture
    def proxy(self, emulator: Emulator, tmp_path: Path) -> Iterator[RunningProxy]:
        with RunningProxy(tmp_path, emulator.environment()) as proxy:
            yield proxy

    async def test_those_it_begins_it_leads_to_an_answer(self, proxy: RunningProxy) -> None:
        body = b"0,1,2,3"
        path = "/endpoints/demo-echo/invocations"
        clients = OpenLoop(proxy, path, body, False, self.PATIENCE_SECONDS)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(quota.capped(proxy.workers, self.SHARE))
            except Failed as exc:
                pytest.skip(str(exc))
            await clients.measure_capacity(8, 1)
            used = [procfs.cpu_seconds(proxy.workers)]
            capacity = await clients.measure_capacity(16, self.CAPACITY_SECONDS)
            before = proxy.resident_bytes()
            used.append(procfs.cpu_seconds(proxy.workers))
            offered = await clients.offer(TIMES * capacity, SECONDS)
            used.append(procfs.cpu_seconds(proxy.workers))
            began_to_recover = time.monotonic()
            answer = await clients.ask_once()
            recovered = time.monotonic() - began_to_recover
        served = offered.with_status(200)
        by_cpu = capacity * self.CAPACITY_SECONDS / (used[1] - used[0])
        goodput = len(served) / (used[2] - used[1]) / by_cpu
        print(
            f"\n{TIMES} x {capacity:.0f} new connections a second: {dict(offered.statuses)}, "
            f"goodput {goodput:.0%} of capacity, p50 {percentile(served, 0.5):.2f} s; "
            f"memory {before / 2**20:.1f} MiB before, {peak_bytes(proxy) / 2**20:.1f} at most; "
            f"answered {recovered:.1f} s after it"
        )
        assert set(offered.statuses) <= {200, 0}  # 0: who waits in the socket's queue gives up
        assert goodput > LEAST_GOODPUT
        assert peak_bytes(proxy) - before < 2 * MOST_MORE_BYTES
        assert answer.status == 200


class Health:
    """Asks a proxy for its health, each time over a connection of its own, while in context."""

    def __init__(self, proxy: RunningProxy) -> None:
        self._proxy = proxy
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.answers: list[Answer] = []

    def __enter__(self) -> "Health":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ending.wait(0.25):
            began = time.monotonic()
            with self._proxy.session() as session:
                try:
                    status = session.get(f"{self._proxy.url}/healthz", timeout=60).status_code
                except requests.RequestException:
                    status = 0
            self.answers.append(Answer(status, began, time.monotonic() - began))


@pytest.mark.skipif(build.why_not() is not None, reason=str(build.why_not()))
class TestMoreThanTheWorkersCoreCanServe:
    """By the benchmark's upstream and load generator, which take little of the machine."""

    CONNECTIONS = 1000

    @pytest.mark.parametrize(
        "limits",
        ["", "[limits]\nmax_concurrent = 200\nmax_queued = 200\nqueue_seconds = 2\n"],
        ids=["all_have_a_place", "most_are_refused"],
    )
    def test_it_goes_on_answering_and_nothing_hangs(self, tmp_path: Path, limits: str) -> None:
        programs = build.compile_programs(site.BENCH / "bin")
        cores = sorted(os.sched_getaffinity(0))
        with Programs() as running, ControlPlane(site.ENDPOINTS) as control:
            upstream, url = site.start_upstream(running, programs["upstream"], cores, tmp_path)
            environ = site.AWS_KEYS | {
                "AWS_REGION": site.REGION,
                "AWS_ENDPOINT_URL_SAGEMAKER": control.url,
                "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": url,
            }
            with RunningProxy(tmp_path, environ, limits) as proxy:
                goodput = self.overload(proxy, programs["load"], upstream.pid, tmp_path)
        assert goodput > LEAST_GOODPUT

    def overload(self, proxy: RunningProxy, program: Path, upstream: int, folder: Path) -> float:
        """Return the goodput as a share of the capacity, both by the CPU time that they took."""
        body = http.chat(site.PLAIN, stream=False)
        request = http.request("/v1/chat/completions", body, proxy.headers)
        file = http.write_requests(folder / "requests", [request])

        def put(connections: int, seconds: float, *more: str) -> load.Load:
            arguments = ["--port", str(proxy.port), "--requests", str(file), "--tls"]
            arguments += ["--connections", str(connections), "--seconds", str(seconds), *more]
            return load.run(program, arguments, gateway=lambda: proxy.workers, upstream=[upstream])

        closed = put(16, 2, "--warmup", "1")
        capacity = closed.answers / closed.gateway_cpu
        assert closed.statuses == {"200": closed.answers}
        before = proxy.resident_bytes()
        with Health(proxy) as health:
            rate = str(TIMES * closed.answers / closed.seconds)
            opened = put(self.CONNECTIONS, SECONDS, "--warmup", "3", "--rate", rate)
        began_to_recover = time.monotonic()
        goodput = opened.statuses.get("200", 0) / opened.gateway_cpu / capacity
        print(
            f"\n{rate} a second on {self.CONNECTIONS} connections: "
            f"{opened.statuses} in {opened.seconds:.1f} s, {opened.broken} broken, "
            f"{opened.refused} refused; goodput {goodput:.0%} of capacity; "
            f"{len(health.answers)} health checks, "
            f"longest {max(each.took for each in health.answers):.2f} s; "
            f"memory {before / 2**20:.1f} MiB before, {peak_bytes(proxy) / 2**20:.1f} at most; "
            f"CPU: worker {opened.gateway_cpu:.1f} s, generator {opened.generator_cpu:.1f} s"
        )
        assert set(opened.statuses) <= {"200", "503"}
        assert opened.broken == 0
        assert {each.status for each in health.answers} == {200}
        assert peak_bytes(proxy) - before < 4 * MOST_MORE_BYTES

        with proxy.session() as session:
            answer = session.post(
                f"{proxy.url}/v1/chat/completions", data=body, timeout=RECOVERY_SECONDS
            )
        assert answer.status_code == 200
        assert time.monotonic() - began_to_recover < RECOVERY_SECONDS
        scrape_until(proxy, lambda found: found.value("requests_open") <= 1, RECOVERY_SECONDS)
        return goodput
