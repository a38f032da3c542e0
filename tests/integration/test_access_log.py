"""The line that each request has in the log tells of the model's own time, and of the trace."""

import uuid

import pytest
import requests

from tests.emulator.emulator import Emulator
from tests.integration.running import Entry, RunningProxy

TRACE = "0af7651916cd43dd8448eb211c80319c"
CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "Hello"}]


class TestTheModelsTime:
    def logged(
        self, proxy: RunningProxy, session: requests.Session, path: str, **fields: object
    ) -> Entry:
        answer = session.post(f"{proxy.url}{path}", json={"model": "demo-chat", **fields})
        assert answer.status_code == 200, answer.text
        return proxy.wait_for_request(answer.headers["X-Request-Id"])

    @pytest.mark.parametrize(
        ("path", "stream"), [(CHAT, False), (CHAT, True), ("/predict", False), ("/predict", True)]
    )
    def test_it_is_up_to_the_first_byte_of_its_answer(
        self,
        proxy: RunningProxy,
        session: requests.Session,
        emulator: Emulator,
        path: str,
        stream: bool,
    ) -> None:
        emulator.set_fault("demo-chat", "slow_first_byte", seconds=0.3)
        entry = self.logged(proxy, session, path, messages=MESSAGES, stream=stream)
        assert 300 <= entry["upstream_milliseconds"] <= entry["first_byte_milliseconds"]

    def test_it_is_the_models_alone_whatever_was_waited_for_before(
        self, proxy: RunningProxy, session: requests.Session, emulator: Emulator
    ) -> None:
        emulator.set_fault("demo-chat", "no_capacity", times=2)
        entry = self.logged(proxy, session, CHAT, messages=MESSAGES)
        # A pause of that at the least is before the call that is answered.
        assert entry["upstream_milliseconds"] + 150 < entry["first_byte_milliseconds"]

    @pytest.mark.parametrize("operation", ["invocations", "invocations-response-stream"])
    def test_sagemakers_own_paths_have_it_too(
        self, proxy: RunningProxy, session: requests.Session, operation: str
    ) -> None:
        path = f"/endpoints/demo-chat/{operation}"
        fields = {"messages": MESSAGES, "stream": operation != "invocations"}
        assert self.logged(proxy, session, path, **fields)["upstream_milliseconds"] > 0

    def test_where_no_model_answers_there_is_none(
        self, proxy: RunningProxy, session: requests.Session
    ) -> None:
        answer = session.get(f"{proxy.url}/v1/models")
        entry = proxy.wait_for_request(answer.headers["X-Request-Id"])
        assert "upstream_milliseconds" not in entry


@pytest.mark.parametrize(
    ("header", "logged"),
    [
        (f"00-{TRACE}-b7ad6b7169203331-01", TRACE),
        (f"00-{TRACE}-0000000000000000-01", None),
        ("nonsense", None),
        (None, None),
    ],
)
def test_the_trace_that_a_request_is_part_of(
    proxy: RunningProxy, session: requests.Session, header: str | None, logged: str | None
) -> None:
    request_id = uuid.uuid4().hex
    headers = {"X-Request-Id": request_id}
    if header:
        headers["Traceparent"] = header
    assert session.get(f"{proxy.url}/healthz", headers=headers).status_code == 200
    assert proxy.wait_for_request(request_id).get("trace_id") == logged
