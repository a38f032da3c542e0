"""A thousand random faults, many at a time: each is answered, and none leaves anything behind."""

import contextlib
import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.emulator.containers import chat
from tests.emulator.emulator import Emulator
from tests.emulator.faults import IN_STREAM, KINDS
from tests.integration.inspecting import OF_REQUESTS, Inspection, environment, wait_until
from tests.integration.raw import RawClient
from tests.integration.running import RunningProxy
from tests.integration.scraping import scrape_until

FAULTS = 1000
CLIENTS = 12

# A body this large that somebody still holds shows: those of half the faults are 10 MB.
BALLAST = "x" * 20_000
MOST_GROWTH_BYTES = 5 * 1024 * 1024

# The configuration's own bounds end each call long before this.
IN_TIME_SECONDS = 30

# Whoever leaves leaves this one: such a call may reach SageMaker when the next one has begun.
ABANDONED = "abandoned"

SETTINGS = f"""
region = "us-east-1"
[upstream]
retries = 1
connect_timeout_seconds = 5
read_timeout_seconds = 4
wake_timeout_seconds = 1.5
max_connections = {CLIENTS}
[limits]
max_concurrent = {CLIENTS}
max_queued = {CLIENTS}  # those who leave have their places a moment longer
[catalog]
refresh_seconds = 3600
"""


@dataclass(frozen=True)
class Case:
    """A fault, and what of the table may come of it. A stream's is late when it had begun."""

    kind: str
    whole: str = ""  # empty: it happens to streams alone
    streamed: tuple[str, ...] = ()  # empty: the same
    times: int | None = 1
    weight: int = 10
    params: dict[str, Any] = field(default_factory=dict)


BROKEN = ("502", "200 upstream_error")
SLOW = ("504", "200 timeout")

CASES = (
    Case("well", "200"),
    Case("client_leaves", "left"),
    Case("validation_error", "400"),
    Case("not_found", "404"),
    Case("throttled", "200"),
    Case("throttled", "429", times=None, weight=5),
    Case("throttled_null", "429", times=None, weight=5),
    Case("not_ready", "200"),
    Case("no_capacity", "200"),
    Case("service_unavailable", "503", times=None, weight=3),
    Case("model_error", "422", params={"original_status": 422}),
    Case("model_error", "502"),
    Case("internal_failure", "502"),
    Case("internal_dependency", "502"),
    Case("access_denied", "502"),
    Case("expired_token", "502", times=None),
    Case("reset_in_request", "502"),
    Case("drop_before_answer", "502"),
    Case("reset_before_answer", "502"),
    Case("half_closed", "502", params={"seconds": 60}),
    Case("garbage", "502"),
    Case("slow_first_byte", "200", params={"seconds": 0.2}),
    Case("slow_first_byte", "504", weight=2, params={"seconds": 60}),
    Case("slow_body", "200", params={"delay": 0.02}),
    Case("slow_body", "504", SLOW, weight=2, params={"delay": 60}),
    Case("drop_in_body", "502", BROKEN),
    Case("reset_in_body", "502", BROKEN),
    Case("reset_after_body", "200"),
    Case("stream_break", streamed=BROKEN),
    Case("stream_model_error", streamed=SLOW),
    Case("stream_model_error", streamed=BROKEN, params={"error_code": "StreamBroken"}),
    Case("stream_internal_failure", streamed=BROKEN),
    Case("stream_bad_crc", streamed=BROKEN),
    Case("stream_end_early", streamed=BROKEN),
)

Outcome = tuple[Case, bool, str, float]  # whether it was streamed, what came, after how long


def test_every_fault_that_there_is_is_among_them() -> None:
    assert {case.kind for case in CASES} - {"well", "client_leaves"} == KINDS


class Client:
    """Calls a model of its own, which nobody else's faults happen to."""

    def __init__(self, number: int, proxy: RunningProxy, emulator: Emulator, seed: str) -> None:
        self._model = f"faulty-{number}"
        self._proxy = proxy
        self._emulator = emulator
        self._random = random.Random(f"{seed}/{number}")

    def suffer(self, faults: int) -> list[Outcome]:
        """Meet so many faults, one after another."""
        with self._proxy.session() as session:
            weights = [case.weight for case in CASES]
            cases = self._random.choices(CASES, weights, k=faults)
            return [self._suffer(session, case) for case in cases]

    def _suffer(self, session: requests.Session, case: Case) -> Outcome:
        streams = not case.whole or self._random.random() < 0.5
        if case.kind in KINDS:
            params = dict(case.params)
            if case.kind in IN_STREAM | {"drop_in_body", "reset_in_body"}:
                params["after"] = self._random.choice((0, 3, 30))
            self._emulator.set_fault(self._model, case.kind, case.times, **params)
        began = time.monotonic()
        came = self._leave(streams) if case.kind == "client_leaves" else self._ask(session, streams)
        seconds = time.monotonic() - began
        self._emulator.clear_faults(self._model)
        return case, streams, came, seconds

    def _body(self, model: str, streams: bool) -> bytes:
        messages = [{"role": "user", "content": "héllo 世界 🌍"}]
        body = {"model": model, "messages": messages, "stream": streams, "user": BALLAST}
        return json.dumps(body).encode()

    def _ask(self, session: requests.Session, streams: bool) -> str:
        url = f"{self._proxy.url}/v1/chat/completions"
        answer = session.post(
            url, data=self._body(self._model, streams), timeout=2 * IN_TIME_SECONDS
        )
        if answer.status_code != 200 or not streams:
            assert answer.json()
            return str(answer.status_code)
        last = answer.text.removesuffix("\n\n").rpartition("\n\n")[2].removeprefix("data: ")
        return "200" if last == "[DONE]" else f"200 {json.loads(last)['error']['code']}"

    def _leave(self, streams: bool) -> str:
        body = self._body(ABANDONED, streams)
        length = len(body) + self._random.choice((0, 0, 1000))  # of which the end never comes
        with RawClient(self._proxy) as raw:
            raw.send(
                "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                f"X-API-Key: {self._proxy.key}\r\nContent-Length: {length}\r\n\r\n"
            )
            raw.send(body)
            time.sleep(self._random.choice((0, 0.005, 0.02)))  # somewhere in the call
        return "left"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inspection")


@pytest.fixture(scope="module")
def proxy(emulator: Emulator, folder: Path) -> Iterator[RunningProxy]:
    names = [ABANDONED, *(f"faulty-{number}" for number in range(CLIENTS))]
    emulator.add_endpoint(names[0], chat.application(tuple(names)))
    for name in names[1:]:
        emulator.add_endpoint(name, emulator.container_url(names[0]))
    emulator.add_endpoint("unhurried", chat.application(("unhurried",), token_delay=0.5))
    environ = emulator.environment() | environment(folder)
    with RunningProxy(folder, environ, SETTINGS) as proxy:
        yield proxy


def storm(proxy: RunningProxy, emulator: Emulator, seed: str, faults: int) -> list[Outcome]:
    """So many faults, as many at a time as there are clients."""
    clients = [Client(number, proxy, emulator, seed) for number in range(CLIENTS)]
    shares = [len(range(number, faults, CLIENTS)) for number in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        outcomes = pool.map(Client.suffer, clients, shares)
        return [outcome for each in outcomes for outcome in each]


class Held:
    """What a worker holds when nothing goes on, all connections to SageMaker closed."""

    def __init__(self, proxy: RunningProxy, emulator: Emulator, inspection: Inspection) -> None:
        scrape_until(
            proxy,
            lambda found: (
                found.value("requests_open") == 0
                and found.value("streams_open") == 0
                and found.value("queued") == 0
                and found.value("waking") == 0
                and found.value("connections") <= 1  # the reader's own
            ),
        )
        emulator.drop_connections()
        port = urlsplit(emulator.runtime_url).port
        assert port is not None
        wait_until(
            lambda: inspection.sockets_to(port) == 0, "a connection to SageMaker is still open"
        )
        wait_until(
            lambda: not any(inspection.objects()[name] for name in OF_REQUESTS),
            "what requests are made of is still there",
        )
        self.tasks = inspection.tasks()
        self.descriptors = inspection.descriptors()
        self.bytes = proxy.resident_bytes()


def report(outcomes: list[Outcome]) -> str:
    counts = Counter(
        (case.kind, "streamed" if streamed else "whole", came)
        for case, streamed, came, _ in outcomes
    )
    return "\n".join(f"{count:5} {' '.join(key)}" for key, count in sorted(counts.items()))


@pytest.mark.timeout(300)
def test_a_thousand_faults_are_answered_as_promised_and_leave_nothing_behind(
    proxy: RunningProxy, emulator: Emulator, folder: Path
) -> None:
    seed = os.environ.get("FAULTS_SEED") or str(random.randrange(1_000_000))
    print(f"to see the same again: FAULTS_SEED={seed}")
    inspection = Inspection(proxy, folder)
    storm(proxy, emulator, f"{seed}/first", 100)  # caches and threads are there from then on
    before = Held(proxy, emulator, inspection)

    outcomes = storm(proxy, emulator, f"{seed}/second", FAULTS // 2)
    half = Held(proxy, emulator, inspection)
    outcomes += storm(proxy, emulator, f"{seed}/third", FAULTS // 2)
    print(report(outcomes))

    assert len(outcomes) == FAULTS
    broken = [
        f"{case.kind} {case.params} streamed={streamed}: {came}"
        for case, streamed, came, _ in outcomes
        if came not in ((case.streamed if streamed else ()) or (case.whole,))
    ]
    assert not broken, "\n".join(broken)
    assert max(seconds for *_, seconds in outcomes) < IN_TIME_SECONDS
    assert not [line for line in proxy.log if "unforeseen" in line]

    after = Held(proxy, emulator, inspection)
    for held in (before, half, after):
        print(f"{held.descriptors} descriptors, {held.tasks.total()} tasks, {held.bytes / 1e6} MB")
    wait_until(lambda: inspection.tasks() == before.tasks, f"there were {before.tasks}")
    assert after.descriptors <= before.descriptors
    # What is in cycles stays for long, for the collector looks seldom.
    assert not inspection.garbage
    # Of the first half, the allocator keeps for good what a burst has needed.
    assert after.bytes - half.bytes < MOST_GROWTH_BYTES
    every_place_is_free(proxy, inspection)


def every_place_is_free(proxy: RunningProxy, inspection: Inspection) -> None:
    """As many calls at a time as the pool has connections, and the limits have places."""
    sent = json.dumps(
        {
            "model": "unhurried",
            "messages": [{"role": "user", "content": "hello"}],
            "stream": True,
        }
    ).encode()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawClient(proxy)) for _ in range(CLIENTS)]
        for raw in clients:
            raw.send(
                "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                f"X-API-Key: {proxy.key}\r\nContent-Length: {len(sent)}\r\n\r\n"
            )
            raw.send(sent)
        assert [raw.read_head()[0] for raw in clients] == [200] * CLIENTS
        scrape_until(proxy, lambda found: found.value("streams_open") == CLIENTS)
        there = inspection.objects()
        assert all(there[name] >= CLIENTS for name in OF_REQUESTS), "what was looked for is not it"
    scrape_until(proxy, lambda found: found.value("streams_open") == 0)
