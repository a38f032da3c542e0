"""Clients that dawdle, crowd, leave, or send JSON that is none: others are served meanwhile."""

import contextlib
import json
import resource
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.emulator.emulator import Emulator
from tests.integration.raw import RawClient
from tests.integration.running import RunningProxy
from tests.integration.scraping import scrape_until

ECHO = "/endpoints/demo-echo/invocations"
CHAT = "/v1/chat/completions"

CONFIG = """
region = "us-east-1"
[server]
idle_timeout_seconds = 3.0
body_timeout_seconds = 3.0
"""


@pytest.fixture(scope="module")
def proxy(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    directory = tmp_path_factory.mktemp("proxy")
    with RunningProxy(directory, emulator.environment(), CONFIG) as proxy:
        yield proxy


@pytest.fixture
def raw(proxy: RunningProxy) -> Iterator[RawClient]:
    with RawClient(proxy) as client:
        yield client


class TestDawdling:
    """A byte at a time, never too late for any of them, and never done."""

    @staticmethod
    def dawdle(client: RawClient, beginning: str, filling: str) -> float:
        """Send so until the connection is closed; how many seconds that took."""
        began = time.monotonic()
        client.send(beginning)
        client.socket.settimeout(0.2)
        while time.monotonic() < began + 20:
            try:
                client.send(filling)
                if client.socket.recv(4096) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        return time.monotonic() - began

    # What there is at once, and what comes of it a byte or a line at a time.
    SLOW = (
        ("X-Slow: ", "x"),
        ("X-Slow: 1\r\n", "X-Slow: 1\r\n"),
        ("Content-Length: 1000\r\n\r\n", "x"),
        ("Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
        ("Transfer-Encoding: chunked\r\n\r\n", "0"),
    )

    def test_with_headers_bodies_and_chunks_they_are_dropped_and_nobody_waits_for_them(
        self, proxy: RunningProxy, raw: RawClient
    ) -> None:
        beginning = f"POST {ECHO} HTTP/1.1\r\nHost: x\r\nX-API-Key: {proxy.key}\r\n"
        with ThreadPoolExecutor(20) as pool, contextlib.ExitStack() as stack:
            runs = [
                pool.submit(
                    self.dawdle, stack.enter_context(RawClient(proxy)), beginning + more, filling
                )
                for more, filling in self.SLOW * 4
            ]
            while not all(run.done() for run in runs):
                answer = raw.request("POST", ECHO, proxy.headers, b"hello")
                assert (answer.status, answer.body) == (200, b"hello")
                time.sleep(0.05)
        assert max(run.result() for run in runs) < 15


class TestCrowd:
    CLIENTS = 5000

    def test_thousands_of_idle_connections_cost_little_and_delay_nobody(
        self, emulator: Emulator, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < 2 * self.CLIENTS:
            pytest.skip("this machine's limit of open files is too low")
        directory = tmp_path_factory.mktemp("crowded")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        try:
            with (
                RunningProxy(directory, emulator.environment(), 'region = "us-east-1"') as proxy,
                contextlib.ExitStack() as stack,
            ):
                before = proxy.resident_bytes()
                for number in range(self.CLIENTS):
                    connection = socket.create_connection(("localhost", proxy.port), timeout=20)
                    stack.enter_context(connection)
                    # Some are let in, most say nothing at all.
                    if number % 10 == 0:
                        wrapped = proxy.client_context().wrap_socket(
                            connection, server_hostname="localhost"
                        )
                        stack.enter_context(wrapped)
                scrape_until(proxy, lambda found: found.value("connections") >= self.CLIENTS)
                for _ in range(20):
                    with RawClient(proxy) as client:
                        began = time.monotonic()
                        answer = client.request("POST", ECHO, proxy.headers, b"hello")
                        assert (answer.status, answer.body) == (200, b"hello")
                        assert time.monotonic() - began < 5
                assert proxy.resident_bytes() - before < self.CLIENTS * 100_000
                stack.pop_all().close()
                scrape_until(proxy, lambda found: found.value("connections") < 10)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class TestPipelining:
    def test_a_hundred_requests_at_once_are_answered_in_their_order(
        self, raw: RawClient, proxy: RunningProxy
    ) -> None:
        wanted = []
        for number in range(100):
            text = f"request {number}"
            path, body = (ECHO, text) if number % 3 else ("/nowhere", "")
            wanted.append((404 if number % 3 == 0 else 200, text))
            raw.send(
                f"POST {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {proxy.key}\r\n"
                f"X-Request-Id: {number}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
            )
        for number, (status, text) in enumerate(wanted):
            answer = raw.read_answer()
            assert answer.headers["x-request-id"] == str(number)
            assert answer.status == status
            if status == 200:
                assert answer.body == text.encode()

    def test_streams_and_answers_do_not_mix(self, raw: RawClient, proxy: RunningProxy) -> None:
        body = json.dumps(
            {
                "model": "slow-chat",
                "stream": True,
                "messages": [{"role": "user", "content": "hi"}],
            }
        )
        stream = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nX-API-Key: {proxy.key}\r\n"
        raw.send(f"{stream}Content-Length: {len(body)}\r\n\r\n{body}" * 2)
        raw.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(2):
            answer = raw.read_answer()
            assert answer.body.count(b"data: [DONE]") == 1
            assert answer.body.endswith(b"data: [DONE]\n\n")
        assert raw.read_answer().json() == {"status": "ok"}

    def test_what_a_client_has_sent_that_leaves_is_not_begun(
        self, proxy: RunningProxy, emulator: Emulator
    ) -> None:
        emulator.set_fault("demo-echo", "slow_first_byte", seconds=1)
        before = len(emulator.calls("demo-echo"))
        request = (
            f"POST {ECHO} HTTP/1.1\r\nHost: x\r\nX-API-Key: {proxy.key}\r\n"
            "X-Request-Id: leaver\r\nContent-Length: 4\r\n\r\nbody"
        )
        with RawClient(proxy) as client:
            client.send(request * 50)
            while len(emulator.calls("demo-echo")) == before:
                time.sleep(0.01)
        # It is seen to have left when an answer cannot be sent.
        proxy.wait_for_log(
            lambda entry: entry.get("request_id") == "leaver" and "client_gone" in entry
        )
        with RawClient(proxy) as client:
            assert client.request("POST", ECHO, proxy.headers, b"last").status == 200
        assert len(emulator.calls("demo-echo")) - before < 10


class TestLeaving:
    BEGINNINGS = (
        "",
        "PO",
        "POST {path} HTTP/1.1\r\nHo",
        "POST {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Length: 9\r\n\r\nhalf",
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf",
        "POST {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n"
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhe",
        "POST {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nExpect: 100-continue\r\n"
        "Content-Length: 9\r\n\r\n",
    )

    def test_in_the_middle_of_a_request_leaves_nothing_behind(
        self, proxy: RunningProxy, emulator: Emulator
    ) -> None:
        before = len(emulator.calls("demo-echo"))
        for number in range(70):
            sent = self.BEGINNINGS[number % len(self.BEGINNINGS)]
            with RawClient(proxy) as client:
                client.send(sent.replace("{path}", ECHO).replace("{key}", proxy.key))
                if number % 2:  # a reset, not an end
                    client.socket.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
        scrape_until(
            proxy,
            lambda found: (
                found.value("connections") <= 2  # the reader's own, and one that is closing
                and found.value("requests_open") <= 1
            ),
        )
        assert len(emulator.calls("demo-echo")) == before


HELLO = '"messages": [{"role": "user", "content": "hello"}]'


class TestJson:
    @pytest.mark.parametrize(
        "body",
        [
            b'{"model": "demo-chat\xff", %s}' % HELLO.encode(),
            b'{"model": "\xed\xa0\x80", %s}' % HELLO.encode(),
            b'\xef\xbb\xbf{"model": "demo-chat", %s}' % HELLO.encode(),
            f'{{"model": "demo-chat", {HELLO}}}'.encode("utf-16"),
            b'{"model": "demo-chat\x00", %s}' % HELLO.encode(),
            b'{"model": "demo-chat", %s}\x00' % HELLO.encode(),
            b'{"model": "demo-chat", %s} {"model": "other"}' % HELLO.encode(),
            b'{"model": "demo-chat", "model": "demo-echo", %s}' % HELLO.encode(),
            b'{"model": "demo-chat", "\\u006dodel": "demo-echo", %s}' % HELLO.encode(),
            b'{"model": "demo-chat", "stream": false, "stream": true, %s}' % HELLO.encode(),
            b'{"model": ["demo-chat"], %s}' % HELLO.encode(),
            b'{"model": null, %s}' % HELLO.encode(),
            b'{"model": "demo-chat", "stream": "yes", %s}' % HELLO.encode(),
            b'{"model": "", %s}' % HELLO.encode(),
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b'"demo-chat"',
            b"NaN",
            b"\x00" * 1000,
        ],
        ids=[
            *("no UTF-8", "half a surrogate", "a mark of the byte order", "UTF-16", "NUL inside"),
            *("NUL behind", "two objects", "two models", "two models, one escaped", "two streams"),
            *("a list for a model", "null for a model", "text for a truth", "no name"),
            *("lists without end", "objects without end", "a text", "not a number", "zeros"),
        ],
    )
    def test_what_is_none_or_says_two_things_is_refused(
        self, raw: RawClient, proxy: RunningProxy, emulator: Emulator, body: bytes
    ) -> None:
        before = len(emulator.calls("demo-chat")), len(emulator.calls("demo-echo"))
        answer = raw.request("POST", CHAT, proxy.headers, body)
        assert answer.status in (400, 404)
        error = answer.json()["error"]
        assert error["type"] == "invalid_request_error"
        assert error["message"]
        assert before == (len(emulator.calls("demo-chat")), len(emulator.calls("demo-echo")))
        assert raw.request("GET", "/healthz", {}).status == 200

    @pytest.mark.parametrize(
        "field",
        [
            b'"x": ' + b"[" * 900 + b"]" * 900,
            b'"x": ' + b"[" * 100_000 + b"]" * 100_000,
            b'"x": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
            b'"x": ' + b"9" * 100_000,
            b'"x": 1e999999',
            b'"x": "\\u0000\\ud800"',
            b'"": 1, "\\u0000": 2, "constructor": 3, "__proto__": {}',
            b'"x": 1, "x": 2',
        ],
        ids=[
            *("deep", "deeper", "deep objects", "a long number", "a large number"),
            *("odd characters", "odd keys", "the same key"),
        ],
    )
    def test_odd_json_is_for_the_model_to_judge_and_hangs_nobody(
        self, raw: RawClient, proxy: RunningProxy, field: bytes
    ) -> None:
        for path in (CHAT, "/v1/completions", "/v1/embeddings", "/predict"):
            body = b'{"model": "demo-chat", "input": "x", "prompt": "x", ' + HELLO.encode()
            began = time.monotonic()
            answer = raw.request("POST", path, proxy.headers, body + b", " + field + b"}")
            assert answer.status in (200, 400, 404, 422, 502)
            if answer.status != 200:
                assert answer.json()["error"]["message"]
            assert time.monotonic() - began < 10
        assert raw.request("GET", "/healthz", {}).status == 200


class TestForms:
    @pytest.mark.parametrize(
        "uri",
        [
            "http://localhost/healthz",
            "HTTPS://localhost:8000/healthz",
            "https://anything.example.com/healthz?a=b",
            "http:///healthz",
        ],
    )
    def test_an_absolute_uri_is_read_as_its_path(self, raw: RawClient, uri: str) -> None:
        assert raw.request("GET", uri, {}).json() == {"status": "ok"}

    @pytest.mark.parametrize(
        "uri",
        [
            *("https://localhost", "http://localhost//healthz", "ftp://localhost/healthz"),
            *("https:/healthz", "healthz", "*", "localhost:443", "http://a/http://b/healthz"),
        ],
    )
    def test_and_as_nothing_else(self, raw: RawClient, proxy: RunningProxy, uri: str) -> None:
        assert raw.request("GET", uri, {}).status == 401
        assert raw.request("GET", "/healthz", {}).status == 200

    @pytest.mark.parametrize(
        "expect", ["100-continue", "100-Continue", "200-ok", "100-continue, x"]
    )
    def test_who_is_refused_is_not_told_to_go_on(self, raw: RawClient, expect: str) -> None:
        raw.send(f"GET /v1/models HTTP/1.1\r\nHost: x\r\nExpect: {expect}\r\n\r\n")
        assert raw.read_answer().status == 401
        assert raw.request("GET", "/healthz", {}).status == 200

    def test_nor_is_http_1_0_which_does_not_know_it(
        self, raw: RawClient, proxy: RunningProxy
    ) -> None:
        raw.send(
            f"POST {ECHO} HTTP/1.0\r\nX-API-Key: {proxy.key}\r\nExpect: 100-continue\r\n"
            "Content-Length: 5\r\n\r\nhello"
        )
        answer = raw.read_answer()
        assert (answer.status, answer.body) == (200, b"hello")
        assert raw.is_closed()
