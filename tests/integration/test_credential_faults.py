"""A clock that is minutes off: calls are signed by SageMaker's own."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import requests

from tests.emulator.emulator import Emulator
from tests.integration.running import RunningProxy
from tests.integration.scraping import scrape

CALLERS = 8
CHAT = {"model": "demo-chat", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(autouse=True)
def right_again(emulator: Emulator) -> Iterator[None]:
    yield
    emulator.ahead = timedelta()


def ask(proxy: RunningProxy, stream: bool = False) -> requests.Response:
    with proxy.session() as session:
        url = f"{proxy.url}/v1/chat/completions"
        return session.post(url, json={**CHAT, "stream": stream}, timeout=30)


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
    said = proxy.wait_for_log(lambda entry: "the clock is off" in entry["message"])
    assert said["level"] == "warning"
    assert ask(proxy, stream).status_code == 200
    assert skew_retries(proxy) == retried, "the clock is known by now"
    emulator.ahead = timedelta()  # as if ours had been set right
    assert ask(proxy, stream).status_code == 200
    assert skew_retries(proxy) == retried + 1


def test_a_refusal_for_another_reason_is_not_tried_again(
    proxy: RunningProxy, emulator: Emulator
) -> None:
    before, calls = skew_retries(proxy), len(emulator.calls("demo-chat"))
    emulator.set_fault("demo-chat", "access_denied")
    assert ask(proxy).status_code == 502
    assert len(emulator.calls("demo-chat")) == calls + 1
    assert skew_retries(proxy) == before
