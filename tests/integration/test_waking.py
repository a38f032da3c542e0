"""Models at zero instances wake up instead of failing, whoever asks."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import openai
import pytest
import requests
from openai.types.chat import ChatCompletionUserMessageParam

from tests.emulator.containers import chat
from tests.emulator.emulator import Emulator
from tests.integration.conftest import QUICK
from tests.integration.raw import RawClient
from tests.integration.running import RunningProxy

CLIENTS = 200
HELLO: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "Hello"}]
SETTINGS = (
    QUICK.replace("wake_timeout_seconds = 1.5", "wake_timeout_seconds = 60")
    + """
[models.two]
endpoint = "sleeper"
inference_component = "model"
fallbacks = ["other"]
[models.first-gone]
endpoint = "deleted"
fallbacks = ["demo-chat"]
[models.last-gone]
endpoint = "sleeper"
inference_component = "model"
fallbacks = ["deleted"]
"""
)


@pytest.fixture(scope="module")
def deployed(emulator: Emulator) -> Emulator:
    container = chat.application(("model",))
    emulator.add_endpoint("sleeper", container, kind="components", components=["model"])
    emulator.add_endpoint("other", chat.application(("other",)))
    emulator.add_endpoint("deleted", chat.application(("deleted",)))
    return emulator


@pytest.fixture(scope="module")
def proxy(deployed: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    directory: Path = tmp_path_factory.mktemp("proxy")
    with RunningProxy(directory, deployed.environment(), SETTINGS) as proxy:
        yield proxy


@pytest.fixture
def asleep(deployed: Emulator) -> Iterator[Emulator]:
    """The component is at zero; it comes up a second after the first call that fails."""
    deployed.set_fault("sleeper", "no_capacity", times=None)
    before = len(deployed.calls("sleeper"))
    over = threading.Event()

    def scale_out() -> None:
        while len(deployed.calls("sleeper")) == before and not over.is_set():
            time.sleep(0.01)
        over.wait(1)
        deployed.clear_faults()

    with ThreadPoolExecutor(1) as pool:
        scaling = pool.submit(scale_out)
        yield deployed
        over.set()
        scaling.result()


def test_hundreds_wait_for_one_that_pokes_and_all_are_answered(
    proxy: RunningProxy, asleep: Emulator
) -> None:
    before = len(asleep.calls("sleeper"))

    def ask(number: int) -> int:
        with proxy.session() as session:
            body = {"model": "sleeper/model", "messages": HELLO, "stream": number % 2 == 0}
            answer = session.post(f"{proxy.url}/v1/chat/completions", json=body, timeout=60)
            assert number % 2 or answer.text.endswith("data: [DONE]\n\n")
            return answer.status_code

    with ThreadPoolExecutor(CLIENTS) as pool:
        assert list(pool.map(ask, range(CLIENTS))) == [200] * CLIENTS
    # Each may have found out for itself, and each is answered; the rest are pokes.
    assert CLIENTS < len(asleep.calls("sleeper")) - before < 2 * CLIENTS + 20
    woken = proxy.wait_for_log(lambda entry: entry["message"] == "a model is awake")
    assert woken["model"] == "sleeper/model"
    assert woken["pokes"] < 20
    assert woken["seconds"] > 0.5


def test_the_log_tells_how_long_a_call_waited(
    proxy: RunningProxy, asleep: Emulator, session: requests.Session
) -> None:
    body = {"model": "sleeper/model", "messages": HELLO}
    headers = {"X-Request-Id": "patient"}
    session.post(f"{proxy.url}/v1/chat/completions", json=body, headers=headers, timeout=60)
    assert proxy.wait_for_request("patient")["waited_milliseconds"] > 500


def test_who_asks_sagemakers_own_way_waits_too(
    proxy: RunningProxy, asleep: Emulator, session: requests.Session
) -> None:
    answer = session.post(
        f"{proxy.url}/endpoints/sleeper/invocations",
        data=json.dumps({"messages": HELLO}),
        headers={
            "Content-Type": "application/json",
            "X-Amzn-SageMaker-Inference-Component": "model",
        },
        timeout=60,
    )
    assert answer.status_code == 200, answer.text


def test_a_stream_that_waits_is_kept_alive_by_comments(
    proxy: RunningProxy, deployed: Emulator
) -> None:
    deployed.set_fault("sleeper", "no_capacity", times=None)
    chat: dict[str, object] = {"messages": HELLO, "max_tokens": 20}
    asked = {
        "/v1/chat/completions": chat,
        "/v1/responses": {"input": HELLO, "max_output_tokens": 20},
        "/v1/messages": chat,
    }
    ends = {
        "/v1/chat/completions": b"data: [DONE]",
        "/v1/responses": b"event: response.incomplete",
        "/v1/messages": b'data: {"type":"message_stop"}',
    }
    with ExitStack() as stack:
        clients = {path: stack.enter_context(RawClient(proxy, timeout=30)) for path in ends}
        for path, client in clients.items():
            body = json.dumps({"model": "sleeper/model", "stream": True, **asked[path]})
            client.send(
                f"POST {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {proxy.key}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}"
            )
        for client in clients.values():
            status, headers = client.read_head()
            assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
            assert client.read_chunk() == b": the model is waking\n\n"
        deployed.clear_faults()
        for path, client in clients.items():
            events = b""
            while chunk := client.read_chunk():
                events += chunk
            assert ends[path] in events.rpartition(b"\n\n")[0].rpartition(b"\n\n")[2]


def test_a_wait_in_vain_ends_a_stream_with_an_error_event(
    deployed: Emulator, tmp_path: Path
) -> None:
    # After the first comment there is no status to tell it by.
    short = SETTINGS.replace("wake_timeout_seconds = 60", "wake_timeout_seconds = 11")
    deployed.set_fault("sleeper", "no_capacity", times=None)
    with (
        RunningProxy(tmp_path, deployed.environment(), short) as impatient,
        openai.DefaultHttpxClient(verify=impatient.client_context()) as http,
        openai.OpenAI(
            api_key=impatient.key,
            base_url=f"{impatient.url}/v1",
            max_retries=0,
            http_client=http,
        ) as client,
    ):
        stream = client.chat.completions.create(model="sleeper/model", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError, match="not ready"):
            next(stream)


class TestFallback:
    def test_while_another_one_is_awake_nobody_waits(
        self, proxy: RunningProxy, deployed: Emulator, session: requests.Session
    ) -> None:
        deployed.set_fault("sleeper", "no_capacity", times=None)
        body = {"model": "two", "messages": HELLO}
        answer = session.post(f"{proxy.url}/v1/chat/completions", json=body)
        assert (answer.status_code, answer.headers["X-Served-By"]) == (200, "other")

    def test_one_that_sagemaker_does_not_find_is_passed_over(
        self, proxy: RunningProxy, deployed: Emulator, session: requests.Session
    ) -> None:
        deployed.set_fault("deleted", "not_found", times=None)
        body = {"model": "first-gone", "messages": HELLO}
        answer = session.post(f"{proxy.url}/v1/chat/completions", json=body)
        assert (answer.status_code, answer.headers["X-Served-By"]) == (200, "demo-chat")

    def test_the_one_that_sleeps_is_waited_for_when_the_last_is_gone(
        self, proxy: RunningProxy, asleep: Emulator, session: requests.Session
    ) -> None:
        asleep.set_fault("deleted", "not_found", times=None)
        body = {"model": "last-gone", "messages": HELLO}
        answer = session.post(f"{proxy.url}/v1/chat/completions", json=body, timeout=60)
        assert (answer.status_code, answer.headers["X-Served-By"]) == (200, "sleeper/model")


def test_an_endpoint_that_is_being_made_is_waited_for(deployed: Emulator, tmp_path: Path) -> None:
    deployed.set_status("other", "Creating")
    deployed.set_fault("other", "not_found", times=None)
    with RunningProxy(tmp_path, deployed.environment(), SETTINGS) as fresh:
        with fresh.session() as session:
            while session.get(f"{fresh.url}/readyz").status_code != 200:
                pass  # until the catalogue is loaded
            ready = threading.Timer(1, deployed.clear_faults)
            ready.start()
            body = {"model": "other", "messages": HELLO}
            answer = session.post(f"{fresh.url}/v1/chat/completions", json=body, timeout=60)
            ready.join()
        assert answer.status_code == 200, answer.text
    assert len(deployed.calls("other")) > 1
