"""HTTP itself: who is let in, what is refused and how, and every bound."""

import contextlib
import itertools
import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.emulator.emulator import Emulator
from tests.integration.raw import RawClient
from tests.integration.running import RunningProxy

MAX_BODY_BYTES = 1_000_000
MAX_HEADER_BYTES = 8192
MAX_CONNECTIONS = 40

BOUNDS = f"""
region = "us-east-1"
[server]
max_body_bytes = {MAX_BODY_BYTES}
max_header_bytes = {MAX_HEADER_BYTES}
max_connections = {MAX_CONNECTIONS}
idle_timeout_seconds = 1.0
body_timeout_seconds = 1.0
request_timeout_seconds = 1.5
allowed_origins = ["https://app.example.com"]
"""


@pytest.fixture(scope="module")
def proxy(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    directory = tmp_path_factory.mktemp("proxy")
    with RunningProxy(directory, emulator.environment(), BOUNDS) as proxy:
        yield proxy


@pytest.fixture
def raw(proxy: RunningProxy) -> Iterator[RawClient]:
    with RawClient(proxy) as client:
        yield client


class TestKeys:
    @pytest.mark.parametrize(
        "headers",
        [
            {"Authorization": "Bearer {key}"},
            {"Authorization": "bearer {key}"},
            {"Authorization": "BEARER  {key}"},
            {"X-API-Key": "{key}"},
            {"x-api-key": "{key}", "Authorization": "AWS4-HMAC-SHA256 Credential=x"},
            {"X-API-Key": "{key}", "Authorization": "Bearer not-this-one"},
        ],
    )
    def test_a_key_is_taken_from_either_header(
        self, raw: RawClient, proxy: RunningProxy, headers: dict[str, str]
    ) -> None:
        given = {name: value.format(key=proxy.key) for name, value in headers.items()}
        assert raw.request("GET", "/v1/models", given).status == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"Authorization": "{key}"},
            {"Authorization": "Basic {key}"},
            {"Authorization": "Bearer"},
            {"Authorization": "Bearer " + str(uuid.uuid4())},
            {"X-API-Key": "{key}x"},
            {"X-API-Key": "x" * 5000},
            {"Cookie": "key={key}"},
        ],
    )
    @pytest.mark.parametrize("path", ["/v1/models", "/", "/nowhere", "/endpoints/a/invocations"])
    def test_anything_else_is_401(
        self, raw: RawClient, proxy: RunningProxy, headers: dict[str, str], path: str
    ) -> None:
        given = {name: value.format(key=proxy.key) for name, value in headers.items()}
        answer = raw.request("GET", path, given)
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert proxy.key.encode() not in answer.body

    def test_a_refusal_with_a_body_leaves_the_connection_usable(
        self, raw: RawClient, proxy: RunningProxy
    ) -> None:
        answer = raw.request("POST", "/predict", {"X-API-Key": "wrong"}, b"x" * 500_000)
        assert answer.status == 401
        assert raw.request("GET", "/v1/models", proxy.headers).status == 200

    @pytest.mark.parametrize("path", ["/healthz", "/readyz"])
    def test_health_is_public(self, raw: RawClient, path: str) -> None:
        assert raw.request("GET", path, {}).status == 200

    @pytest.mark.parametrize("method", ["GET", "OPTIONS"])
    def test_nobody_fills_memory_without_one(self, proxy: RunningProxy, method: str) -> None:
        before = proxy.resident_bytes()
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                raw = stack.enter_context(RawClient(proxy))
                raw.send(
                    f"{method} /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
                )
                raw.send(b"x" * 990_000)
            with RawClient(proxy) as other:  # answered when the rest has been read, or nearly so
                assert other.request("GET", "/healthz", {}).status == 200
            assert proxy.resident_bytes() - before < 10_000_000


class TestMethodsAndPaths:
    def test_head_is_get_without_the_body(self, raw: RawClient, proxy: RunningProxy) -> None:
        whole = raw.request("GET", "/v1/models", proxy.headers)
        head = raw.request("HEAD", "/v1/models", proxy.headers)
        assert head.status == 200
        assert head.headers["content-length"] == str(len(whole.body))
        # The connection is still in step.
        assert raw.request("HEAD", "/nowhere", proxy.headers).status == 404
        assert raw.request("GET", "/healthz", {}).json() == {"status": "ok"}

    def test_options_tells_the_methods(self, raw: RawClient) -> None:
        answer = raw.request("OPTIONS", "/v1/chat/completions", {})
        assert (answer.status, answer.headers["allow"]) == (204, "POST, OPTIONS")
        assert "access-control-allow-origin" not in answer.headers

    @pytest.mark.parametrize(
        ("method", "path", "allow"),
        [
            ("GET", "/v1/chat/completions", "POST, OPTIONS"),
            ("DELETE", "/v1/models", "GET, HEAD, OPTIONS"),
            ("POST", "/healthz", "GET, HEAD, OPTIONS"),
            ("PATCH", "/endpoints/demo-echo/invocations", "POST, OPTIONS"),
            ("BREW", "/predict", "POST, OPTIONS"),
            ("B" * 5000, "/predict", "POST, OPTIONS"),
        ],
    )
    def test_another_method_is_405_with_allow(
        self, raw: RawClient, proxy: RunningProxy, method: str, path: str, allow: str
    ) -> None:
        answer = raw.request(method, path, proxy.headers)
        assert (answer.status, answer.headers["allow"]) == (405, allow)
        assert method[:20] in answer.body.decode()
        assert len(answer.body) < 500

    @pytest.mark.parametrize(
        ("method", "path"), [("BREW", "/predict"), ("TRACE", "/healthz"), ("GET", "/v1/models/%ff")]
    )
    def test_a_refusal_leaves_the_connection_as_it_was(
        self, raw: RawClient, proxy: RunningProxy, method: str, path: str
    ) -> None:
        answer = raw.request(method, path, proxy.headers, b"a body that nobody reads")
        assert 400 <= answer.status < 500
        assert raw.request("GET", "/v1/models", proxy.headers).status == 200

    @pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
    @pytest.mark.parametrize("path", ["/nowhere", "/v1/", "/endpoints//invocations", "/%ff"])
    def test_another_path_is_404_in_the_same_shape(
        self, raw: RawClient, proxy: RunningProxy, method: str, path: str
    ) -> None:
        answer = raw.request(method, path, proxy.headers)
        assert answer.status == 404
        assert answer.json()["error"]["code"] == "not_found"

    def test_bytes_that_are_no_utf_8_in_a_name_are_refused(
        self, raw: RawClient, proxy: RunningProxy
    ) -> None:
        answer = raw.request("GET", "/v1/models/%ff%fe", proxy.headers)
        assert 400 <= answer.status < 500
        assert answer.json()["error"]["message"]


class TestOldClients:
    """HTTP/1.0, which has no chunks."""

    def test_a_stream_ends_with_its_connection(self, raw: RawClient, proxy: RunningProxy) -> None:
        body = json.dumps(
            {
                "model": "demo-chat",
                "stream": True,
                "messages": [{"role": "user", "content": "hello"}],
            }
        )
        raw.send(
            f"POST /v1/chat/completions HTTP/1.0\r\nX-API-Key: {proxy.key}\r\n"
            f"Connection: keep-alive\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        )
        status, headers = raw.read_head()
        assert status == 200
        assert headers["connection"] == "close"
        assert "transfer-encoding" not in headers
        assert raw.read_to_end().endswith(b"data: [DONE]\n\n")

    def test_an_answer_with_a_length_keeps_its_connection(self, raw: RawClient) -> None:
        for _ in range(2):
            raw.send("GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert raw.read_answer().json() == {"status": "ok"}


class TestCors:
    ORIGIN = "https://app.example.com"

    def test_a_preflight_from_an_allowed_origin_is_granted(self, raw: RawClient) -> None:
        answer = raw.request(
            "OPTIONS",
            "/v1/chat/completions",
            {
                "Origin": self.ORIGIN,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization, content-type",
            },
        )
        assert answer.status == 204
        assert answer.headers["access-control-allow-origin"] == self.ORIGIN
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert "authorization" in answer.headers["access-control-allow-headers"]
        assert answer.headers["vary"] == "Origin"

    def test_answers_and_errors_alike_name_the_origin(
        self, raw: RawClient, proxy: RunningProxy
    ) -> None:
        for headers in (proxy.headers, {}):
            answer = raw.request("GET", "/v1/models", {**headers, "Origin": self.ORIGIN})
            assert answer.headers["access-control-allow-origin"] == self.ORIGIN

    def test_another_origin_is_granted_nothing(self, raw: RawClient) -> None:
        answer = raw.request(
            "OPTIONS", "/v1/chat/completions", {"Origin": "https://evil.example.com"}
        )
        assert not [name for name in answer.headers if name.startswith("access-control")]


class TestRequestIds:
    def test_a_sane_one_comes_back(self, raw: RawClient) -> None:
        answer = raw.request("GET", "/healthz", {"X-Request-Id": "my-id.42"})
        assert answer.headers["x-request-id"] == "my-id.42"

    @pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<script>", "a\tb"])
    def test_another_is_replaced(self, raw: RawClient, given: str) -> None:
        answer = raw.request("GET", "/healthz", {"X-Request-Id": given})
        assert answer.headers["x-request-id"] != given
        assert len(answer.headers["x-request-id"]) == 32

    def test_every_request_has_one_line_in_the_log(
        self, session: requests.Session, proxy: RunningProxy
    ) -> None:
        body = {"model": "demo-chat", "messages": [{"role": "user", "content": "hello"}]}
        answer = session.post(f"{proxy.url}/v1/chat/completions", json=body)
        entry = proxy.wait_for_request(answer.headers["X-Request-Id"])
        usage = answer.json()["usage"]
        assert entry["prompt_tokens"] == usage["prompt_tokens"]
        assert entry["completion_tokens"] == usage["completion_tokens"]
        assert entry["bytes_in"] == len(json.dumps(body))
        assert entry["bytes_out"] == len(answer.content)
        assert entry["milliseconds"] > 0
        expected = {
            "key": "default",
            "method": "POST",
            "route": "/v1/chat/completions",
            "model": "demo-chat",
            "status": 200,
        }
        assert expected.items() <= entry.items()


class TestFloods:
    def test_who_sends_without_an_end_keeps_nobody_else_waiting(
        self, raw: RawClient, session: requests.Session, proxy: RunningProxy
    ) -> None:
        begun, answered = threading.Event(), threading.Event()

        def flood() -> None:
            with contextlib.suppress(OSError):  # its time is over
                for count in itertools.count():
                    raw.send(b"\r\n" * 0x8000)
                    if count == 16:
                        begun.set()
                    if answered.is_set():
                        return

        with ThreadPoolExecutor(1) as threads:
            flooding = threads.submit(flood)
            try:
                assert begun.wait(10)
                for _ in range(10):
                    assert session.get(f"{proxy.url}/healthz", timeout=10).status_code == 200
            finally:
                answered.set()
            flooding.result(10)


class TestBodies:
    def test_a_body_at_the_bound_is_taken(self, raw: RawClient, proxy: RunningProxy) -> None:
        body = b"x" * MAX_BODY_BYTES
        answer = raw.request("POST", "/endpoints/demo-echo/invocations", proxy.headers, body)
        assert (answer.status, answer.body) == (200, body)

    @pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 20_000_000])
    @pytest.mark.parametrize("path", ["/v1/chat/completions", "/endpoints/demo-echo/invocations"])
    def test_one_over_it_is_413_even_to_a_client_that_sends_it_all_first(
        self, raw: RawClient, proxy: RunningProxy, size: int, path: str
    ) -> None:
        answer = raw.request("POST", path, proxy.headers, b"x" * size)
        assert answer.status == 413
        assert str(MAX_BODY_BYTES) in answer.body.decode()
        assert raw.request("GET", "/healthz", {}).status == 200

    def test_a_chunked_body_is_bounded_as_well(self, raw: RawClient, proxy: RunningProxy) -> None:
        raw.send(
            f"POST /predict HTTP/1.1\r\nHost: x\r\nX-API-Key: {proxy.key}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        raw.send(chunk * 40 + b"0\r\n\r\n")
        assert raw.read_answer().status == 413
        assert raw.request("GET", "/healthz", {}).status == 200

    def test_a_client_that_asks_first_is_refused_before_it_sends(
        self, raw: RawClient, proxy: RunningProxy
    ) -> None:
        raw.send(
            f"POST /predict HTTP/1.1\r\nHost: x\r\nX-API-Key: {proxy.key}\r\n"
            f"Content-Length: {MAX_BODY_BYTES + 1}\r\nExpect: 100-continue\r\n\r\n"
        )
        answer = raw.read_answer()
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert raw.is_closed()

    @pytest.mark.parametrize("expect", ["100-continue", "100-Continue"])
    def test_a_client_that_asks_first_is_told_to_go_on(
        self, raw: RawClient, proxy: RunningProxy, expect: str
    ) -> None:
        raw.send(
            f"POST /endpoints/demo-echo/invocations HTTP/1.1\r\nHost: x\r\n"
            f"X-API-Key: {proxy.key}\r\nContent-Length: 5\r\nExpect: {expect}\r\n\r\n"
        )
        assert raw.read_head()[0] == 100
        raw.send("hello")
        assert raw.read_answer().body == b"hello"

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"not json", b"[]", b'{"model": 1}', b'{"messages": []}', b"\xff\xfe"]
    )
    @pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/completions", "/predict"])
    def test_what_cannot_be_routed_is_400(
        self, raw: RawClient, proxy: RunningProxy, path: str, body: bytes
    ) -> None:
        answer = raw.request("POST", path, proxy.headers, body)
        assert answer.status == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"

    def test_an_absurd_length_is_refused(self, raw: RawClient, proxy: RunningProxy) -> None:
        raw.send(
            f"POST /predict HTTP/1.1\r\nHost: x\r\nX-API-Key: {proxy.key}\r\n"
            f"Content-Length: {'9' * 5000}\r\n\r\n"
        )
        assert raw.read_answer().status == 413

    def test_an_answer_nested_without_end_is_passed_on(
        self, raw: RawClient, proxy: RunningProxy
    ) -> None:
        deep = b'{"usage":{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}}"
        answer = raw.request("POST", "/endpoints/demo-echo/invocations", proxy.headers, deep)
        assert (answer.status, answer.body) == (200, deep)

    def test_so_is_a_refusal(self, raw: RawClient, proxy: RunningProxy, emulator: Emulator) -> None:
        deep = "[" * 50_000
        emulator.set_fault("demo-echo", "model_error", original_status=422, original_message=deep)
        answer = raw.request("POST", "/predict", proxy.headers, b'{"model": "demo-echo"}')
        assert answer.status == 422

    def test_repeated_headers_for_sagemaker_reach_it_together(
        self, raw: RawClient, proxy: RunningProxy, emulator: Emulator
    ) -> None:
        raw.send(
            f"POST /endpoints/demo-echo/invocations HTTP/1.1\r\nHost: x\r\n"
            f"X-API-Key: {proxy.key}\r\nContent-Length: 0\r\n"
            "X-Amzn-SageMaker-Custom-Attributes: a\r\n"
            "X-Amzn-SageMaker-Custom-Attributes: b\r\n\r\n"
        )
        assert raw.read_answer().status == 200
        sent = emulator.calls("demo-echo")[-1].headers
        assert sent["X-Amzn-SageMaker-Custom-Attributes"] == "a,b"

    @pytest.mark.parametrize(
        "path", ["/endpoints/demo-echo/invocations", "/v1/chat/completions", "/predict"]
    )
    def test_headers_for_sagemaker_must_be_ascii(
        self, raw: RawClient, proxy: RunningProxy, path: str
    ) -> None:
        body = b'{"model": "demo-echo"}'
        raw.send(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {proxy.key}\r\n"
            f"Content-Length: {len(body)}\r\n".encode()
            + b"X-Amzn-SageMaker-Custom-Attributes: caf\xc3\xa9\r\n\r\n"
            + body
        )
        answer = raw.read_answer()
        assert answer.status == 400
        assert "must be ASCII" in answer.body.decode()
        if path.startswith("/endpoints/"):
            assert answer.headers["x-amzn-errortype"] == "ValidationError"


class TestHeaders:
    def test_headers_over_the_bound_are_431(self, raw: RawClient, proxy: RunningProxy) -> None:
        answer = raw.request("GET", "/v1/models", {**proxy.headers, "X-Big": "x" * 10_000})
        assert answer.status == 431
        assert str(MAX_HEADER_BYTES) in answer.json()["error"]["message"]

    def test_so_is_a_path_over_the_bound(self, raw: RawClient, proxy: RunningProxy) -> None:
        assert raw.request("GET", "/" + "x" * 10_000, proxy.headers).status == 431

    def test_headers_without_end_lose_their_connection(self, raw: RawClient) -> None:
        with contextlib.suppress(OSError):  # what it still sends may reset the connection
            raw.send(b"GET / HTTP/1.1\r\nX-Big: " + b"x" * 1_000_000)
            assert raw.read_to_end().partition(b" ")[2][:3] in (b"431", b"")


class TestTime:
    def test_a_slow_model_is_504_after_the_servers_deadline(
        self, raw: RawClient, proxy: RunningProxy, emulator: Emulator
    ) -> None:
        emulator.set_fault("demo-echo", "slow_first_byte", seconds=30)
        answer = raw.request("POST", "/predict", proxy.headers, b'{"model": "demo-echo"}')
        assert answer.status == 504
        assert answer.json()["error"]["code"] == "timeout"
        emulator.wait_for_disconnect("demo-echo", timeout=5)

    @pytest.mark.parametrize(
        "sent",
        [
            b"",
            b"GET / HT",
            b"GET / HTTP/1.1\r\nHost: x\r\nX-A",
            b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        ],
        ids=["nothing", "half a line", "half the headers", "a request, then nothing"],
    )
    def test_a_client_that_says_nothing_more_is_dropped(self, raw: RawClient, sent: bytes) -> None:
        raw.send(sent)
        if sent.endswith(b"\r\n\r\n"):
            assert raw.read_answer().status == 200
        assert raw.is_closed()

    def test_one_that_never_ends_its_body_is_dropped(
        self, raw: RawClient, proxy: RunningProxy
    ) -> None:
        request_id = uuid.uuid4().hex
        raw.send(
            f"POST /predict HTTP/1.1\r\nHost: x\r\nX-API-Key: {proxy.key}\r\n"
            f"X-Request-Id: {request_id}\r\nContent-Length: 100\r\n\r\nhalf"
        )
        assert raw.is_closed()
        assert proxy.wait_for_request(request_id)["status"] == 499

    def test_one_that_never_takes_its_answer_is_dropped(
        self, raw: RawClient, proxy: RunningProxy
    ) -> None:
        request_id = uuid.uuid4().hex
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = b"x" * MAX_BODY_BYTES
        with contextlib.suppress(OSError):
            for _ in range(10):  # more than the kernel's buffers hold
                raw.send(
                    f"POST /endpoints/demo-echo/invocations HTTP/1.1\r\nHost: x\r\n"
                    f"X-API-Key: {proxy.key}\r\nX-Request-Id: {request_id}\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n"
                )
                raw.send(body)
        gone = proxy.wait_for_log(
            lambda entry: entry.get("request_id") == request_id and "client_gone" in entry
        )
        assert gone["client_gone"] is True

    def test_one_that_never_shakes_hands_is_dropped(self, proxy: RunningProxy) -> None:
        with socket.create_connection(("localhost", proxy.port), timeout=10) as connection:
            assert connection.recv(1) == b""


class TestConnections:
    def test_those_over_the_bound_are_told_so(self, proxy: RunningProxy) -> None:
        with ThreadPoolExecutor(MAX_CONNECTIONS + 5) as pool:
            clients = list(pool.map(lambda _: RawClient(proxy), range(MAX_CONNECTIONS + 5)))
            answers = list(pool.map(lambda client: client.request("GET", "/healthz", {}), clients))
        refused = [answer for answer in answers if answer.status != 200]
        assert 5 <= len(refused) < 10, "connections of earlier tests may still be closing"
        for answer in refused:
            assert answer.status == 503
            assert answer.json()["error"]["code"] == "too_many_connections"
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.headers["connection"] == "close"
        for client, answer in zip(clients, answers, strict=True):
            with client:
                if answer.status == 503:
                    assert client.is_closed()

    def test_when_they_are_gone_new_ones_are_served(self, proxy: RunningProxy) -> None:
        deadline = time.monotonic() + 10
        while True:
            with RawClient(proxy) as client:
                if client.request("GET", "/healthz", {}).status == 200:
                    return
            assert time.monotonic() < deadline
