"""Where one request ends and the next begins: as RFC 9112 has it, or the connection ends.

What two servers on a client's way read differently lets one client speak for another. So each
request here is followed by a second one, and SageMaker's own record tells what has been read.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.emulator.emulator import Emulator
from tests.integration.raw import RawAnswer, RawClient
from tests.integration.running import RunningProxy

PATH = "/endpoints/demo-echo/invocations"
CONFIG = """
region = "us-east-1"
[server]
max_body_bytes = 100_000
idle_timeout_seconds = 2.0
body_timeout_seconds = 2.0
"""


@pytest.fixture(scope="module")
def proxy(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    directory = tmp_path_factory.mktemp("proxy")
    with RunningProxy(directory, emulator.environment(), CONFIG) as proxy:
        yield proxy


@dataclass(frozen=True)
class Outcome:
    """What became of a request and of the one behind it."""

    answers: list[RawAnswer]
    closed: bool
    reached: list[bytes]  # the bodies that SageMaker was sent

    @property
    def statuses(self) -> list[int]:
        return [answer.status for answer in self.answers]


class Wire:
    """Sends bytes on a connection of their own, and a whole good request behind them."""

    def __init__(self, proxy: RunningProxy, emulator: Emulator) -> None:
        self._proxy = proxy
        self._emulator = emulator

    @property
    def key(self) -> str:
        return f"X-API-Key: {self._proxy.key}\r\n"

    def send(self, request: str, pieces: int = 1) -> Outcome:
        before = len(self._emulator.calls("demo-echo"))
        behind = f"POST {PATH} HTTP/1.1\r\nHost: x\r\n{self.key}X-Request-Id: behind\r\n"
        data = f"{request}{behind}Content-Length: 6\r\n\r\nbehind".encode("latin-1")
        answers: list[RawAnswer] = []
        closed = False
        with RawClient(self._proxy) as client:
            size = -(-len(data) // pieces)
            for start in range(0, len(data), size):
                client.send(data[start : start + size])
            try:
                while not answers or answers[-1].headers.get("x-request-id") != "behind":
                    answers.append(client.read_answer())
            except ConnectionError:
                closed = True
        # Whatever has been read of it by now is sent on before this.
        with RawClient(self._proxy) as client:
            assert client.request("POST", PATH, self._proxy.headers, b"last").status == 200
        reached = [call.body for call in self._emulator.calls("demo-echo")[before:]]
        assert reached.pop() == b"last"
        return Outcome(answers, closed, reached)


@pytest.fixture(scope="module")
def wire(proxy: RunningProxy, emulator: Emulator) -> Wire:
    return Wire(proxy, emulator)


def post(*headers: str, body: str = "", version: str = "1.1") -> str:
    lines = [f"POST {PATH} HTTP/{version}", "Host: x", *headers]
    return "".join(f"{line}\r\n" for line in lines) + "\r\n" + body


CHUNKED = "Transfer-Encoding: chunked"
HELLO = "5\r\nhello\r\n0\r\n\r\n"

# By RFC 9112: 2.2 (line ends), 3 (request line), 3.2 (host), 5 (fields), 6 (lengths), 7 (chunks).
REFUSED = {
    "a length and chunks": post("Content-Length: 5", CHUNKED, body=HELLO),
    "chunks and a length": post(CHUNKED, "Content-Length: 20", body=HELLO),
    "chunks in HTTP/1.0": post(CHUNKED, "Connection: keep-alive", body=HELLO, version="1.0"),
    "two lengths": post("Content-Length: 5", "Content-Length: 6", body="hello1"),
    "two lengths in a line": post("Content-Length: 5, 6", body="hello1"),
    "a length and nothing": post("Content-Length: 5,", body="hello"),
    "a length with a sign": post("Content-Length: +5", body="hello"),
    "a negative length": post("Content-Length: -5", body="hello"),
    "a length in hexadecimal": post("Content-Length: 0x5", body="hello"),
    "a length with an underscore": post("Content-Length: 1_0", body="hellohello"),
    "a length with a space in it": post("Content-Length: 1 0", body="hellohello"),
    "a length in other digits": post("Content-Length: \xb2", body="he"),
    "an empty length": post("Content-Length:", body="hello"),
    "a space before the colon": post("Content-Length : 5", body="hello"),
    "another space before the colon": post(f"{CHUNKED[:17]} : chunked", body=HELLO),
    "a folded line": post("Transfer-Encoding:", " chunked", body=HELLO),
    "a folded line at the start": post(" Content-Length: 5", body="hello"),
    "a line without a colon": post("Content-Length 5", body="hello"),
    "a field without a name": post(": 5", body=""),
    "a carriage return alone": post("X-A: a\rContent-Length: 5", body="hello"),
    "a NUL in a field": post("X-A: a\0b", body=""),
    "a NUL in a name": post("Content\0-Length: 5", body="hello"),
    "a vertical tab": post("Transfer-Encoding: \x0bchunked", body=HELLO),
    "another coding": post("Transfer-Encoding: gzip", body=HELLO),
    "chunks behind another coding": post("Transfer-Encoding: gzip, chunked", body=HELLO),
    "chunks before another coding": post("Transfer-Encoding: chunked, identity", body=HELLO),
    "chunks twice": post("Transfer-Encoding: chunked, chunked", body=HELLO),
    "chunks twice in two lines": post(CHUNKED, CHUNKED, body=HELLO),
    "chunks with a parameter": post("Transfer-Encoding: chunked;q=1", body=HELLO),
    "chunks in quotes": post('Transfer-Encoding: "chunked"', body=HELLO),
    "nearly chunks": post("Transfer-Encoding: xchunked", body=HELLO),
    "no coding": post("Transfer-Encoding:", body=HELLO),
    "a size that is none": post(CHUNKED, body="zz\r\nhello\r\n0\r\n\r\n"),
    "a size with a prefix": post(CHUNKED, body="0x5\r\nhello\r\n0\r\n\r\n"),
    "a size with a sign": post(CHUNKED, body="+5\r\nhello\r\n0\r\n\r\n"),
    "a negative size": post(CHUNKED, body="-5\r\nhello\r\n0\r\n\r\n"),
    "a size with a space": post(CHUNKED, body="5 \r\nhello\r\n0\r\n\r\n"),
    "no size": post(CHUNKED, body="\r\nhello\r\n0\r\n\r\n"),
    "a size of 65 bits": post(CHUNKED, body="10000000000000005\r\nhello\r\n0\r\n\r\n"),
    "a size over any bound": post(CHUNKED, body="f" * 60 + "\r\nhello\r\n0\r\n\r\n"),
    "a chunk longer than its size": post(CHUNKED, body="4\r\nhello\r\n0\r\n\r\n"),
    "a chunk shorter than its size": post(CHUNKED, body="6\r\nhello\r\n0\r\n\r\n"),
    "line feeds between chunks": post(CHUNKED, body="5\nhello\n0\n\n"),
    "a line feed behind a chunk": post(CHUNKED, body="5\r\nhello\n0\r\n\r\n"),
    "an extension with a line feed": post(CHUNKED, body="5;\nhello\r\n0\r\n\r\n"),
    "a trailer with a line feed": post(CHUNKED, body="5\r\nhello\r\n0\r\nX: a\n\r\n\r\n"),
    # Could be taken for line ends (2.2), which some do and some do not.
    "line feeds between fields": post("Content-Length: 5").replace("\r\n", "\n") + "hello\r\n\r\n",
    "two hosts": post("Host: y"),
    "no host": post().replace("Host: x\r\n", ""),
    "a host with a path": post().replace("Host: x", "Host: x/y"),
    "two spaces in the first line": post().replace(" HTTP", "  HTTP"),
    "a tab in the first line": post().replace(" HTTP", "\tHTTP"),
    "a NUL in the path": post().replace(" HTTP", "\0 HTTP"),
    "HTTP/0.9": f"POST {PATH}\r\n\r\n",
    "HTTP/2": post(version="2.0"),
    "HTTP/1": post(version="1"),
    "a method with a colon": post().replace("POST", "PO:ST"),
}

READ = {
    "a length": post("Content-Length: 5", body="hello"),
    "the same length twice": post("Content-Length: 5", "Content-Length: 5", body="hello"),
    "the same length in a line": post("Content-Length: 5,  5", body="hello"),
    "a length with zeros": post("Content-Length: 0005", body="hello"),
    "a name in any case": post("cOnTeNt-LeNgTh: 5", body="hello"),
    "no space behind the colon": post("Content-Length:5", body="hello"),
    "tabs around the value": post("Content-Length:\t5\t", body="hello"),
    "chunks": post(CHUNKED, body=HELLO),
    "chunks in any case": post("Transfer-Encoding: ChUnKeD", body=HELLO),
    "sizes in any case with zeros": post(CHUNKED, body="0000A\r\nhellohello\r\n000\r\n\r\n"),
    "a chunk with an extension": post(CHUNKED, body="5;a=b\r\nhello\r\n0\r\n\r\n"),
    "a trailer": post(CHUNKED, body="5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n"),
    "an empty line before it": "\r\n" + post("Content-Length: 5", body="hello"),
    "an absolute URI": post("Content-Length: 5", body="hello").replace(
        PATH, f"https://elsewhere.example.com{PATH}"
    ),
    "HTTP/1.0 that is to be kept": post(
        "Content-Length: 5", "Connection: keep-alive", body="hello", version="1.0"
    ),
    "a version after this one": post(
        "Content-Length: 5", "Connection: keep-alive", body="hello", version="1.9"
    ),
}


@pytest.mark.parametrize("has_key", [True, False], ids=["with a key", "without"])
@pytest.mark.parametrize("request_", REFUSED.values(), ids=REFUSED)
def test_what_can_be_read_two_ways_has_one_answer_and_ends_its_connection(
    wire: Wire, request_: str, has_key: bool
) -> None:
    if has_key:
        request_ = request_.replace("Host: x", f"{wire.key}Host: x", 1)
    outcome = wire.send(request_)
    assert outcome.statuses == [400]
    assert outcome.closed
    assert outcome.reached == []


@pytest.mark.parametrize("pieces", [1, 200])
@pytest.mark.parametrize("request_", READ.values(), ids=READ)
def test_what_can_be_read_in_one_way_is_and_so_is_what_follows(
    wire: Wire, request_: str, pieces: int
) -> None:
    request_ = request_.replace("Host: x", f"{wire.key}Host: x", 1)
    outcome = wire.send(request_, pieces)
    assert outcome.statuses == [200, 200]
    assert outcome.reached in ([b"hello", b"behind"], [b"hellohello", b"behind"])
    assert [answer.body for answer in outcome.answers] == outcome.reached


@pytest.mark.parametrize("request_", READ.values(), ids=READ)
def test_a_refusal_passes_over_the_same_bytes(wire: Wire, request_: str) -> None:
    outcome = wire.send(request_)
    assert outcome.statuses == [401, 200]
    assert outcome.reached == [b"behind"]


def test_a_size_line_without_end_loses_its_connection(wire: Wire) -> None:
    outcome = wire.send(post(wire.key.strip(), CHUNKED, body="0" * 1000))
    assert outcome.closed
    assert outcome.reached == []


def test_a_request_without_a_length_has_no_body(wire: Wire) -> None:
    outcome = wire.send(post(wire.key.strip()))
    assert outcome.statuses == [200, 200]
    assert outcome.reached == [b"", b"behind"]


@pytest.mark.parametrize("digits", [19, 30])
def test_a_length_over_any_bound_has_one_answer_and_no_end(wire: Wire, digits: int) -> None:
    outcome = wire.send(post(wire.key.strip(), f"Content-Length: {'9' * digits}"))
    assert outcome.statuses == [413]
    assert outcome.closed
    assert outcome.reached == []


def test_a_chunked_body_that_breaks_over_its_bound_has_one_answer(wire: Wire) -> None:
    chunk = "10000\r\n" + "x" * 0x10000 + "\r\n"
    outcome = wire.send(post(wire.key.strip(), CHUNKED, body=chunk * 4 + "zz\r\n"))
    assert outcome.statuses == [413]
    assert outcome.closed
    assert outcome.reached == []


def test_a_stream_of_a_later_version_is_one_of_this_version(proxy: RunningProxy) -> None:
    body = '{"model": "demo-chat", "stream": true, "messages": [{"role": "user", "content": "hi"}]}'
    request = (
        f"POST /v1/chat/completions HTTP/1.2\r\nHost: x\r\nX-API-Key: {proxy.key}\r\n"
        f"Connection: keep-alive\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )
    with RawClient(proxy) as client:
        client.send(request * 2)
        for _ in range(2):
            answer = client.read_answer()
            assert answer.headers["transfer-encoding"] == "chunked"
            assert answer.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("options", ["close", "CLOSE", "close, TE", "TE ,Close"])
def test_nothing_is_read_behind_the_last_request(wire: Wire, options: str) -> None:
    outcome = wire.send(
        post(wire.key.strip(), f"Connection: {options}", "Content-Length: 5", body="hello")
    )
    assert outcome.statuses == [200]
    assert outcome.answers[0].headers["connection"] == "close"
    assert outcome.closed
    assert outcome.reached == [b"hello"]


def test_sagemaker_is_told_the_proxys_own_length_and_host(wire: Wire, emulator: Emulator) -> None:
    wire.send(
        post(
            wire.key.strip(),
            CHUNKED,
            "Connection: keep-alive, X-Hop",
            "X-Hop: 1",
            "Trailer: Content-Length",
            "X-Forwarded-Host: elsewhere",
            body=HELLO,
        )
    )
    sent = emulator.calls("demo-echo")[-3].headers
    assert sent["Content-Length"] == "5"
    assert sent["Host"] == emulator.runtime_url.removeprefix("http://")
    assert not {"Transfer-Encoding", "Trailer", "X-Hop", "X-Forwarded-Host"} & set(sent)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=300), max_size=20), st.integers(1, 60))
def test_a_body_in_any_chunks_sent_in_any_pieces_arrives_whole(
    wire: Wire, chunks: list[bytes], pieces: int
) -> None:
    text = [chunk.decode("latin-1") for chunk in chunks]
    body = "".join(f"{len(chunk):x}\r\n{chunk}\r\n" for chunk in text) + "0\r\n\r\n"
    outcome = wire.send(post(wire.key.strip(), CHUNKED, body=body), pieces)
    assert outcome.statuses == [200, 200]
    assert outcome.reached == [b"".join(chunks), b"behind"]
