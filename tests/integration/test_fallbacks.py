"""When the next of an alias's models answers, and when the first one's own words are the answer."""

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.emulator.containers import chat, scripted, tgi
from tests.emulator.emulator import Emulator
from tests.integration.conftest import QUICK
from tests.integration.raw import RawClient
from tests.integration.running import RunningProxy

HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
TGI = (
    "763104351884.dkr.ecr.us-east-1.amazonaws.com/"
    "huggingface-pytorch-tgi-inference:2.1.1-tgi1.4.2-gpu-py310-cu121-ubuntu22.04"
)
WHOLE = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "whole",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "All."}}
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
}
SETTINGS = (
    QUICK.replace("retries = 2", "retries = 2\nmax_connections = 5")
    + """
[models.fails]
endpoint = "fails"
fallbacks = ["good"]
[models.refuses]
endpoint = "refuses"
fallbacks = ["good"]
[models.refuses-long]
endpoint = "refuses"
long_requests = true
[models.whole-long]
endpoint = "whole"
long_requests = true
[models.hangs]
endpoint = "hangs"
fallbacks = ["good"]
[models.poorer]
endpoint = "first"
fallbacks = ["text"]
"""
)


@pytest.fixture(scope="module")
def deployed(emulator: Emulator) -> Emulator:
    def failure(code: int) -> bytes:
        error = {"message": "prompt too long", "type": "BadRequestError", "code": code}
        return b"data: " + json.dumps({"error": error}).encode() + b"\n\n"

    whole = scripted.application(json.dumps(WHOLE).encode(), content_type="application/json")
    emulator.add_endpoint("good", chat.application(("good",)))
    emulator.add_endpoint("first", chat.application(("first",)))
    emulator.add_endpoint("text", tgi.application(), image=TGI)
    emulator.add_endpoint("fails", scripted.application(failure(500)))
    emulator.add_endpoint("refuses", scripted.application(failure(400)))
    emulator.add_endpoint("hangs", scripted.application(hangs=True))
    emulator.add_endpoint("whole", whole)
    return emulator


@pytest.fixture(scope="module")
def proxy(deployed: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    directory: Path = tmp_path_factory.mktemp("proxy")
    with RunningProxy(directory, deployed.environment(), SETTINGS) as proxy:
        yield proxy


def ask(
    proxy: RunningProxy, session: requests.Session, model: str, **more: object
) -> requests.Response:
    body = {"model": model, "messages": HELLO, **more}
    return session.post(f"{proxy.url}/v1/chat/completions", json=body, timeout=30)


def test_a_failure_inside_a_stream_that_has_not_begun_is_fallen_back_from(
    proxy: RunningProxy, session: requests.Session
) -> None:
    answer = ask(proxy, session, "fails", stream=True)
    assert answer.status_code == 200
    assert answer.headers["X-Served-By"] == "good"
    assert answer.text.endswith("data: [DONE]\n\n")
    assert "prompt too long" not in answer.text


@pytest.mark.parametrize(
    ("model", "stream"), [("refuses", True), ("refuses-long", False)], ids=["stream", "long"]
)
def test_what_a_container_refuses_is_the_clients_own_matter(
    proxy: RunningProxy, session: requests.Session, model: str, stream: bool
) -> None:
    answer = ask(proxy, session, model, stream=stream)
    assert answer.status_code == 400
    assert "prompt too long" in answer.json()["error"]["message"]


def test_a_fallback_that_can_do_less_does_not_hide_why_the_first_has_failed(
    proxy: RunningProxy, session: requests.Session, deployed: Emulator
) -> None:
    deployed.set_fault("first", "service_unavailable", times=None)
    answer = ask(proxy, session, "poorer", tools=[TOOL])
    assert answer.status_code == 503
    deployed.clear_faults()
    deployed.set_fault("first", "service_unavailable", times=1)
    assert ask(proxy, session, "poorer", tools=[TOOL]).status_code == 200


def test_a_container_that_does_not_stream_has_answered_a_long_request_all_the_same(
    proxy: RunningProxy, session: requests.Session
) -> None:
    assert ask(proxy, session, "whole-long").json() == WHOLE


def test_a_client_that_leaves_before_the_first_event_leaves_no_call_behind(
    proxy: RunningProxy, session: requests.Session, deployed: Emulator
) -> None:
    # As many as there are connections to SageMaker.
    for _ in range(5):
        with RawClient(proxy) as raw:
            sent = json.dumps({"model": "hangs", "messages": HELLO, "stream": True})
            before = len(deployed.calls("hangs"))
            request_id = uuid.uuid4().hex
            raw.send(
                f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                f"Authorization: Bearer {proxy.key}\r\nX-Request-Id: {request_id}\r\n"
                f"Content-Length: {len(sent)}\r\n\r\n{sent}"
            )
            while len(deployed.calls("hangs")) == before:
                time.sleep(0.01)
        assert proxy.wait_for_request(request_id)["client_gone"] is True
    assert ask(proxy, session, "good").status_code == 200
