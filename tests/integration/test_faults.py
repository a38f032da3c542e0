"""The error table: what SageMaker does wrong, and what a client is told. One test a row."""

import json
from typing import Any

import pytest
import requests

from tests.emulator.containers import chat
from tests.emulator.emulator import Emulator
from tests.integration.running import RunningProxy

CHAT = {"model": "slow-chat", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module", autouse=True)
def unhurried(emulator: Emulator) -> None:
    """A model slow enough that what it has said is sent on before the next word."""
    emulator.add_endpoint("unhurried-chat", chat.application(("unhurried-chat",), token_delay=0.25))


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def stream(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


class Caller:
    """Calls the chat route and counts what reached SageMaker."""

    def __init__(self, session: requests.Session, proxy: RunningProxy, emulator: Emulator) -> None:
        self.session, self.proxy, self.emulator = session, proxy, emulator
        self.before = len(emulator.calls("slow-chat"))

    def chat(self, stream: bool, **more: Any) -> requests.Response:
        url = f"{self.proxy.url}/v1/chat/completions"
        return self.session.post(url, json={**CHAT, "stream": stream, **more})

    @property
    def attempts(self) -> int:
        return len(self.emulator.calls("slow-chat")) - self.before

    def logged(self, answer: requests.Response) -> dict[str, Any]:
        return self.proxy.wait_for_request(answer.headers["X-Request-Id"])


@pytest.fixture
def caller(session: requests.Session, proxy: RunningProxy, emulator: Emulator) -> Caller:
    return Caller(session, proxy, emulator)


def error_of(answer: requests.Response) -> dict[str, Any]:
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "code", "param"}
    return dict(body["error"])


def events_of(answer: requests.Response) -> list[Any]:
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert answer.text.endswith("\n\n")
    lines = answer.text.removesuffix("\n\n").split("\n\n")
    return [
        "[DONE]" if line == "data: [DONE]" else json.loads(line.removeprefix("data: "))
        for line in lines
    ]


def test_no_such_model_is_404(caller: Caller, stream: bool) -> None:
    answer = caller.chat(stream, model="nothing-of-the-kind")
    assert answer.status_code == 404
    error = error_of(answer)
    assert (error["type"], error["code"]) == ("invalid_request_error", "model_not_found")
    assert error["param"] == "model"
    assert caller.attempts == 0


def test_a_model_that_has_just_gone_is_404(
    caller: Caller, emulator: Emulator, stream: bool
) -> None:
    name = f"short-lived-{stream}".lower()
    emulator.add_endpoint(name, emulator.container_url("demo-echo"))
    assert caller.chat(False, model=name).status_code == 200
    emulator.remove_endpoint(name)
    answer = caller.chat(stream, model=name)
    assert answer.status_code == 404
    assert error_of(answer)["code"] == "model_not_found"
    assert "123456789012" not in answer.text, "the account is not the client's to know"


def test_no_key_is_401(caller: Caller, stream: bool) -> None:
    caller.session.headers["Authorization"] = "Bearer 00000000-0000-4000-8000-000000000000"
    answer = caller.chat(stream)
    assert answer.status_code == 401
    assert error_of(answer)["code"] == "invalid_api_key"
    assert caller.attempts == 0


def test_a_validation_error_is_400(caller: Caller, emulator: Emulator, stream: bool) -> None:
    emulator.set_fault("slow-chat", "validation_error")
    answer = caller.chat(stream)
    assert answer.status_code == 400
    assert error_of(answer)["type"] == "invalid_request_error"


def test_a_containers_4xx_is_its_own_status_and_body(caller: Caller, stream: bool) -> None:
    answer = caller.chat(stream, messages=[])
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "BadRequestError", "vLLM's body, not ours"
    assert caller.logged(answer)["status"] == 400


def test_a_containers_4xx_that_is_no_json_is_wrapped(
    caller: Caller, emulator: Emulator, stream: bool
) -> None:
    emulator.set_fault(
        "slow-chat", "model_error", original_status=422, original_message="prompt too long"
    )
    answer = caller.chat(stream)
    assert answer.status_code == 422
    assert error_of(answer)["message"] == "prompt too long"


def test_a_containers_5xx_is_502(caller: Caller, emulator: Emulator, stream: bool) -> None:
    emulator.set_fault(
        "slow-chat", "model_error", original_status=500, original_message="CUDA out of memory"
    )
    answer = caller.chat(stream)
    assert answer.status_code == 502
    assert "CUDA out of memory" in error_of(answer)["message"]
    assert caller.attempts == 1, "the model may have worked on it: no second try"


@pytest.mark.parametrize("fault", ["internal_failure", "internal_dependency"])
def test_sagemakers_own_5xx_is_502(
    caller: Caller, emulator: Emulator, stream: bool, fault: str
) -> None:
    emulator.set_fault("slow-chat", fault)
    answer = caller.chat(stream)
    assert answer.status_code == 502
    assert error_of(answer)["type"] == "server_error"
    assert caller.attempts == 1


@pytest.mark.parametrize("fault", ["not_ready", "no_capacity", "service_unavailable"])
class TestWaking:
    def test_a_model_that_wakes_in_time_answers(
        self, caller: Caller, emulator: Emulator, stream: bool, fault: str
    ) -> None:
        emulator.set_fault("slow-chat", fault, times=1)
        assert caller.chat(stream).status_code == 200
        assert caller.attempts == 2

    def test_one_that_does_not_is_503_with_retry_after(
        self, caller: Caller, emulator: Emulator, stream: bool, fault: str
    ) -> None:
        emulator.set_fault("slow-chat", fault, times=None)
        answer = caller.chat(stream)
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert error_of(answer)["code"] == "service_unavailable"
        assert caller.attempts > 1


@pytest.mark.parametrize("fault", ["throttled", "throttled_null"])
class TestThrottling:
    def test_it_is_retried(
        self, caller: Caller, emulator: Emulator, stream: bool, fault: str
    ) -> None:
        emulator.set_fault("slow-chat", fault, times=2)
        assert caller.chat(stream).status_code == 200
        assert caller.attempts == 3

    def test_then_it_is_429_with_retry_after(
        self, caller: Caller, emulator: Emulator, stream: bool, fault: str
    ) -> None:
        emulator.set_fault("slow-chat", fault, times=None)
        answer = caller.chat(stream)
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) > 0
        assert error_of(answer)["code"] == "rate_limit_exceeded"
        assert caller.attempts == 3, "once, and the two retries of the configuration"


def test_a_time_out_is_504(caller: Caller, emulator: Emulator, stream: bool) -> None:
    emulator.set_fault("slow-chat", "slow_first_byte", seconds=10)
    answer = caller.chat(stream)
    assert answer.status_code == 504
    assert error_of(answer)["code"] == "timeout"
    assert caller.attempts == 1


def test_a_missing_permission_is_502_and_named_in_the_log(
    caller: Caller, emulator: Emulator, proxy: RunningProxy, stream: bool
) -> None:
    emulator.set_fault("slow-chat", "access_denied")
    answer = caller.chat(stream)
    assert answer.status_code == 502
    assert "arn:" not in answer.text
    entry = proxy.wait_for_log(lambda entry: "IAM action" in entry["message"])
    assert "sagemaker:InvokeEndpoint" in entry["message"]
    assert ":endpoint/slow-chat" in entry["message"]
    assert entry["request_id"] == answer.headers["X-Request-Id"]


def test_expired_credentials_are_502(caller: Caller, emulator: Emulator, stream: bool) -> None:
    emulator.set_fault("slow-chat", "expired_token")
    answer = caller.chat(stream)
    assert answer.status_code == 502
    assert caller.logged(answer)["error"] == "upstream_error"


@pytest.mark.parametrize(
    "fault", ["drop_before_answer", "reset_before_answer", "half_closed", "garbage"]
)
def test_a_connection_that_breaks_before_the_answer_is_502(
    caller: Caller, emulator: Emulator, stream: bool, fault: str
) -> None:
    emulator.set_fault("slow-chat", fault)
    answer = caller.chat(stream)
    assert answer.status_code == 502
    assert caller.attempts == 1, "the call may have reached the model"


@pytest.mark.parametrize("fault", ["drop_in_body", "reset_in_body"])
def test_a_whole_answer_that_breaks_off_is_502(
    caller: Caller, emulator: Emulator, fault: str
) -> None:
    emulator.set_fault("slow-chat", fault)
    answer = caller.chat(stream=False)
    assert answer.status_code == 502


def test_a_long_answer_that_breaks_off_is_cut_off(
    caller: Caller, emulator: Emulator, session: requests.Session, proxy: RunningProxy
) -> None:
    emulator.set_fault("demo-echo", "drop_in_body")
    with pytest.raises(requests.exceptions.RequestException):
        session.post(
            f"{proxy.url}/endpoints/demo-echo/invocations", data=b"x" * 1_000_000
        ).raise_for_status()


@pytest.mark.parametrize(
    ("fault", "parameters", "code"),
    [
        ("stream_break", {}, "upstream_error"),
        ("stream_model_error", {"error_code": "StreamBroken"}, "upstream_error"),
        ("stream_model_error", {"error_code": "ModelInvocationTimeExceeded"}, "timeout"),
        ("stream_internal_failure", {}, "upstream_error"),
        ("stream_bad_crc", {}, "upstream_error"),
        ("stream_end_early", {}, "upstream_error"),
    ],
)
class TestStreams:
    def test_a_failure_after_the_first_byte_is_an_error_event(
        self,
        caller: Caller,
        emulator: Emulator,
        fault: str,
        parameters: dict[str, Any],
        code: str,
    ) -> None:
        emulator.set_fault("unhurried-chat", fault, after=10, **parameters)
        answer = caller.chat(stream=True, model="unhurried-chat")
        assert answer.status_code == 200
        *chunks, last = events_of(answer)
        assert chunks
        assert all(chunk["object"] == "chat.completion.chunk" for chunk in chunks)
        assert last["error"]["code"] == code
        assert "[DONE]" not in answer.text
        assert caller.logged(answer)["error"] == code

    def test_a_failure_before_it_has_a_status(
        self,
        caller: Caller,
        emulator: Emulator,
        fault: str,
        parameters: dict[str, Any],
        code: str,
    ) -> None:
        emulator.set_fault("slow-chat", fault, after=0, **parameters)
        answer = caller.chat(stream=True)
        assert answer.status_code == (504 if code == "timeout" else 502)
        assert error_of(answer)["code"] == code


def test_silence_in_the_middle_of_a_stream_is_an_error_event(
    caller: Caller, emulator: Emulator
) -> None:
    emulator.set_fault("slow-chat", "slow_body", delay=10)
    answer = caller.chat(stream=True)
    if answer.status_code == 200:
        assert events_of(answer)[-1]["error"]["code"] == "timeout"
    else:
        assert answer.status_code == 504
