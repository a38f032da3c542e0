"""Credentials that end, metadata services that are slow or away, and clocks that are wrong."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import requests

from tests.emulator.containers import chat
from tests.emulator.emulator import Emulator
from tests.emulator.metadata import MetadataService
from tests.integration import clocks
from tests.integration.clocks import Clock
from tests.integration.inspecting import wait_until
from tests.integration.running import Entry, RunningProxy
from tests.integration.scraping import scrape

CALLERS = 8
CHAT = {"model": "demo-chat", "messages": [{"role": "user", "content": "hello"}]}
SETTINGS = 'region = "us-east-1"\n'


@pytest.fixture(scope="module")
def proxy(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    directory = tmp_path_factory.mktemp("proxy")
    with RunningProxy(directory, emulator.environment(), SETTINGS) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def right_again(emulator: Emulator) -> Iterator[None]:
    yield
    emulator.ahead = timedelta()


def ask(proxy: RunningProxy, stream: bool = False, model: str = "demo-chat") -> requests.Response:
    with proxy.session() as session:
        url = f"{proxy.url}/v1/chat/completions"
        return session.post(url, json={**CHAT, "stream": stream, "model": model}, timeout=30)


def tells_of_clock(entry: Entry) -> bool:
    return "the clock is off" in str(entry["message"])


def skew_retries(proxy: RunningProxy) -> float:
    return scrape(proxy).value("upstream_retries_total", reason="clock")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("minutes", [-20, 20], ids=["ahead", "behind"])
def test_no_call_is_lost_and_each_is_tried_once_more_at_most(
    proxy: RunningProxy, emulator: Emulator, minutes: int, stream: bool
) -> None:
    before = skew_retries(proxy)
    emulator.ahead = timedelta(minutes=minutes)
    with ThreadPoolExecutor(CALLERS) as pool:
        answers = list(pool.map(lambda _: ask(proxy, stream), range(CALLERS)))
    assert [answer.status_code for answer in answers] == [200] * CALLERS
    assert not stream or all("[DONE]" in answer.text for answer in answers)
    retried = skew_retries(proxy)
    assert 1 <= retried - before <= CALLERS
    assert proxy.wait_for_log(tells_of_clock)["level"] == "warning"
    assert ask(proxy, stream).status_code == 200
    assert skew_retries(proxy) == retried, "the clock is known by now"
    emulator.ahead = timedelta()  # as if ours had been set right
    assert ask(proxy, stream).status_code == 200
    assert skew_retries(proxy) == retried + 1
    proxy.wait_for_log(tells_of_clock)


def test_a_refusal_for_another_reason_is_not_tried_again(
    proxy: RunningProxy, emulator: Emulator
) -> None:
    before, calls = skew_retries(proxy), len(emulator.calls("demo-chat"))
    emulator.set_fault("demo-chat", "access_denied")
    assert ask(proxy).status_code == 502
    assert len(emulator.calls("demo-chat")) == calls + 1
    assert skew_retries(proxy) == before


# Long enough that botocore, which asks from 15 minutes before their end on, does not ask at once,
# nor, as it would from 25 minutes on, take them for good beyond their end.
LIFETIME = timedelta(minutes=40)


class Instance:
    """A proxy with the credentials of an instance's role, which the emulated AWS knows and ends."""

    def __init__(self, metadata: MetadataService, emulator: Emulator, proxy: RunningProxy) -> None:
        self.metadata, self.emulator, self.proxy = metadata, emulator, proxy

    def end_session(self) -> None:
        """Let the credentials end that were handed out last."""
        self.emulator.credentials.expire(self.metadata.issued[-1][0])

    def is_ready(self) -> bool:
        with self.proxy.session() as session:
            return session.get(f"{self.proxy.url}/readyz", timeout=30).status_code == 200


@pytest.fixture
def metadata(emulator: Emulator) -> Iterator[MetadataService]:
    with MetadataService(LIFETIME) as metadata:
        metadata.on_issue = lambda: emulator.credentials.add(*metadata.issued[-1])
        yield metadata


@pytest.fixture
def start(
    emulator: Emulator, metadata: MetadataService, tmp_path: Path
) -> Iterator[Callable[..., Instance]]:
    started: list[RunningProxy] = []

    def start(**environ: str) -> Instance:
        addresses = {
            name: value
            for name, value in emulator.environment().items()
            if name.startswith("AWS_ENDPOINT")
        }
        of_instance = {
            "REGION_NAME": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "false",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url,
        }
        proxy = RunningProxy(tmp_path, addresses | of_instance | environ)
        started.append(proxy)
        instance = Instance(metadata, emulator, proxy)
        wait_until(instance.is_ready, "it is never ready")
        return instance

    yield start
    for proxy in started:
        proxy.__exit__(None, None, None)


def wait_for_more(of: Sequence[object], number: int, otherwise: str) -> None:
    enough = len(of) + number
    wait_until(lambda: len(of) >= enough, otherwise)


class TestCredentials:
    def test_that_end_under_load_cost_no_answer(
        self, start: Callable[..., Instance], emulator: Emulator
    ) -> None:
        emulator.add_endpoint("steady", chat.application(("steady",), token_delay=0.01))
        instance = start()
        stop = threading.Event()
        statuses: list[int] = []

        def call(number: int) -> None:
            while not stop.is_set():
                answer = ask(instance.proxy, stream=bool(number % 2), model="steady")
                whole = "[DONE]" in answer.text if number % 2 else "choices" in answer.json()
                statuses.append(answer.status_code if whole else 0)

        with ThreadPoolExecutor(CALLERS) as pool:
            calls = [pool.submit(call, number) for number in range(CALLERS)]
            try:
                for _ in range(2):
                    wait_for_more(statuses, CALLERS, "there is no load")
                    instance.end_session()
                    wait_for_more(instance.metadata.issued, 1, "nobody looked for others")
            finally:
                stop.set()
            for each in calls:
                each.result()
        assert set(statuses) == {200}

    def test_are_waited_for_where_the_metadata_service_is_slow_and_nobody_else_waits(
        self, start: Callable[..., Instance]
    ) -> None:
        instance = start()
        instance.metadata.slow = 0.6  # for each of three answers; botocore gives up after one
        instance.end_session()
        with ThreadPoolExecutor(CALLERS) as pool, instance.proxy.session() as session:
            calls = [pool.submit(ask, instance.proxy) for _ in range(CALLERS)]
            others = 0
            while not all(call.done() for call in calls):
                answer = session.get(f"{instance.proxy.url}/healthz", timeout=30)
                others += answer.status_code == 200
            assert [call.result().status_code for call in calls] == [200] * CALLERS
        assert others > 20, "they waited, too"

    def test_that_ended_while_the_service_is_away_are_told_and_replaced_when_it_is_back(
        self, start: Callable[..., Instance]
    ) -> None:
        instance = start()
        instance.metadata.away.set()
        assert ask(instance.proxy).status_code == 200, "they are good for a while"
        instance.end_session()
        began = time.monotonic()
        assert ask(instance.proxy).status_code == 502
        assert time.monotonic() - began < 20
        wait_until(lambda: not instance.is_ready(), "it does not tell")
        instance.metadata.away.clear()
        wait_until(lambda: ask(instance.proxy).status_code == 200, "it does not recover")
        assert instance.is_ready()


@pytest.mark.timeout(180)
def test_a_quarter_of_an_hour_without_the_metadata_service(
    start: Callable[..., Instance], emulator: Emulator, metadata: MetadataService, tmp_path: Path
) -> None:
    if reason := clocks.why_not():
        pytest.skip(reason)
    clock = Clock(tmp_path)

    def pass_until(minutes: int) -> None:
        """Everybody's clock says that so many minutes have passed since the start."""
        emulator.ahead = metadata.ahead = timedelta(minutes=minutes)
        clock.set(timedelta(minutes=minutes))

    instance = start(**clock.environment())
    proxy = instance.proxy
    metadata.away.set()
    pass_until(26)  # botocore asks for others from now on
    proxy.wait_for_log(lambda entry: entry["message"] == "no fresh AWS credentials", 20)
    assert ask(proxy).status_code == 200
    for minutes in (31, 39):  # and insists from the first of these on
        pass_until(minutes)
        assert ask(proxy).status_code == 200, f"{40 - minutes} minutes before their end"
        assert instance.is_ready()
    pass_until(41)
    instance.end_session()
    refused = ask(proxy)
    assert refused.status_code == 502
    assert "AWS credentials" in refused.json()["error"]["message"]
    assert not instance.is_ready()
    metadata.away.clear()
    wait_until(instance.is_ready, "it does not recover by itself")
    assert ask(proxy).status_code == 200
    proxy.wait_for_log(lambda entry: entry["message"] == "AWS credentials are fresh again")
