"""HTTP/1.1 requests: as h11 reads them, wherever they are cut; whatever is doubtful is refused."""

import tracemalloc
from dataclasses import dataclass

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http_request import BadRequest, HeadTooLong, RequestReader

MOST = 4096

NAMES = ("content-type", "authorization", "X-Amzn-SageMaker-Custom-Attributes", "x-a", "cookie")
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"))
SPACES = st.sampled_from(("", " ", " \t"))
TARGETS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E)).map("/{}".format)


@dataclass(frozen=True)
class Read:
    method: str
    uri: str
    version: str
    headers: dict[str, str]
    body: bytes
    keeps_alive: bool


def read(pieces: list[bytes]) -> list[Read]:
    """All requests that are whole."""
    found: list[Read] = []
    reader, body = RequestReader(MOST), b""
    for piece in pieces:
        data = piece
        while data:
            body += reader.feed(data)
            data = b""
            if reader.is_whole and reader.request is not None:
                head = reader.request
                keeps_alive = reader.keeps_alive
                found.append(
                    Read(head.method, head.uri, head.version, head.headers, body, keeps_alive)
                )
                if not keeps_alive:
                    return found
                data = reader.rest
                reader, body = RequestReader(MOST), b""
    return found


def h11_read(pieces: list[bytes]) -> list[Read]:
    connection = h11.Connection(h11.SERVER)
    found: list[Read] = []
    for piece in pieces:
        connection.receive_data(piece)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                headers: dict[str, str] = {}
                for raw_name, raw_value in event.headers:
                    name, value = raw_name.decode(), raw_value.decode("latin-1")
                    headers[name] = f"{headers[name]},{value}" if name in headers else value
                version = f"HTTP/{event.http_version.decode()}"
                first = event.method.decode(), event.target.decode("latin-1"), version
                body = b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                keeps_alive = connection.our_state is h11.DONE
                found.append(Read(*first, headers, body, keeps_alive))
                if not keeps_alive:
                    return found
                connection.start_next_cycle()
            else:
                break
    return found


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from(("GET", "POST", "HEAD", "DELETE", "BREW")))
    fields = draw(st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=6))
    lines = [f"{method} {draw(TARGETS)} HTTP/1.1", "Host: example.com:8000"]
    lines += [f"{name}:{draw(SPACES)}{value}" for name, value in fields]
    if draw(st.integers(0, 5)) == 0:
        lines.append(f"Connection: {draw(st.sampled_from(('close', 'Close', 'te, close')))}")
    parts = draw(st.lists(st.binary(min_size=1, max_size=300), max_size=5))
    if draw(st.booleans()):
        lines.append("Transfer-Encoding: chunked")
        body = b"".join(b"%x;a=b\r\n%s\r\n" % (len(part), part) for part in parts)
        body += b"0\r\n" + draw(st.sampled_from((b"", b"X-Trailer: 1\r\n"))) + b"\r\n"
    else:
        body = b"".join(parts)
        if body or draw(st.booleans()):
            lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@st.composite
def cut(draw: st.DrawFn, data: st.SearchStrategy[bytes]) -> list[bytes]:
    whole = draw(data)
    places = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    return [whole[a:b] for a, b in zip([0, *places], [*places, len(whole)], strict=True)]


@given(cut(st.lists(requests(), min_size=1, max_size=3).map(b"".join)))
def test_it_reads_what_h11_reads(pieces: list[bytes]) -> None:
    pieces = [piece for piece in pieces if piece]
    assert read(pieces) == h11_read(pieces)


@given(cut(requests()), st.integers(0, 10_000), st.integers(0, 255))
def test_damage_is_an_error_or_another_request(pieces: list[bytes], at: int, byte: int) -> None:
    data = bytearray(b"".join(pieces))
    data[at % len(data)] = byte
    try:
        read([bytes(data)])
    except BadRequest:
        return


@given(cut(st.binary()))
def test_bytes_are_read_alike_wherever_they_are_cut(pieces: list[bytes]) -> None:
    def outcome(pieces: list[bytes]) -> object:
        try:
            return read(
                [b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", *pieces]
            )
        except BadRequest as exc:
            return type(exc)

    assert outcome(pieces) == outcome([b"".join(pieces)])


def head(*lines: bytes, first: bytes = b"POST / HTTP/1.1", host: bytes = b"Host: x") -> bytes:
    return b"\r\n".join([line for line in (first, host, *lines) if line]) + b"\r\n\r\n"


def test_a_name_is_the_same_in_any_case_and_its_values_are_one() -> None:
    (found,) = read([head(b"X-A: one", b"x-a:\t two \t", b"X-B:")])
    assert found.headers == {"host": "x", "x-a": "one,two", "x-b": ""}


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        (b"http://example.com:8000/a?b=c", "/a?b=c"),
        (b"HTTPS://example.com", "/"),
        (b"https://example.com?b", "/?b"),
        (b"//example.com/a", "//example.com/a"),
        (b"*", "*"),
        (b"ftp://example.com/a", "ftp://example.com/a"),
    ],
)
def test_an_absolute_uri_is_its_path(uri: bytes, path: str) -> None:
    assert read([head(first=b"GET " + uri + b" HTTP/1.1")])[0].uri == path


def test_empty_lines_between_requests_say_nothing() -> None:
    assert len(read([b"\r\n\r\n", b"\r", b"\n" + head(first=b"GET / HTTP/1.1"), head()])) == 2


@pytest.mark.parametrize(
    ("first", "options", "keeps_alive"),
    [
        (b"GET / HTTP/1.1", b"", True),
        (b"GET / HTTP/1.1", b"Connection: keep-alive, close", False),
        (b"GET / HTTP/1.0", b"", False),
        (b"GET / HTTP/1.0", b"Connection: Keep-Alive", True),
        (b"GET / HTTP/1.5", b"", True),
    ],
)
def test_who_may_send_another_request(first: bytes, options: bytes, keeps_alive: bool) -> None:
    assert read([head(options, first=first)])[0].keeps_alive is keeps_alive


@pytest.mark.parametrize(
    "data",
    [
        head(b"Content-Length: 1", b"Content-Length: 2"),
        head(b"Content-Length: 1, 2"),
        head(b"Content-Length: 1, 11"),
        head(b"Content-Length: 1,"),
        head(b"Content-Length: +1"),
        head(b"Content-Length: -1"),
        head(b"Content-Length: 1_0"),
        head(b"Content-Length: 0x1"),
        head(b"Content-Length: \xb2"),
        head(b"Content-Length:"),
        head(b"Content-Length: 1", b"Transfer-Encoding: chunked"),
        head(b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.0"),
        head(b"Transfer-Encoding: gzip, chunked"),
        head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        head(b"Transfer-Encoding: chunked, identity"),
        head(b"Transfer-Encoding: xchunked"),
        head(b"Transfer-Encoding : chunked"),
        head(b"Transfer-Encoding: \x0bchunked"),
        head(b" Transfer-Encoding: chunked"),
        head(b"X-A: one", b" folded"),
        head(b"X-A: a\x00b"),
        head(b"X-A: a\rTransfer-Encoding: chunked"),
        head(b"X-A: a\nTransfer-Encoding: chunked"),
        head(b"no colon"),
        head(b": no name"),
        head(b"na me: value"),
        head(b"n\xe9: value"),
        head(host=b""),
        head(b"Host: x"),
        head(host=b"Host: a b"),
        head(host=b"Host: a/b"),
        head(first=b"GET /"),
        head(first=b"GET  / HTTP/1.1"),
        head(first=b"GET /a b HTTP/1.1"),
        head(first=b"GET /a\tb HTTP/1.1"),
        head(first=b"G(T / HTTP/1.1"),
        head(first=b"GET / HTTP/2.0"),
        head(first=b"GET / HTTP/1.1 "),
        head(first=b"GET / http/1.1"),
        b"GET / HTTP/1.1\nHost: x\n\n\r\n\r\n",
        b"\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    ],
)
def test_what_is_no_head_or_a_doubtful_one_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequest):
        read([data])


@pytest.mark.parametrize(
    "body",
    [
        *(b"\r\n", b"x\r\n", b"-1\r\n", b"1_0\r\n", b"0x1\r\n", b" 1\r\n", b"1 \r\n"),
        *(b"1" * 17 + b"\r\n", b"1\r\nab\r\n", b"1" * 2000),
        *(b"1;a\nb\r\n", b"1;a\rb\r\n", b"0\r\nX: a\nb\r\n"),
        *(b"0\r\n" + b"x: y\r\n" * 30_000, b"1;" + b"a" * 2000 + b"\r\nx\r\n0\r\n\r\n"),
    ],
)
def test_what_is_no_chunk_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        read([head(b"Transfer-Encoding: chunked"), body])


def test_a_long_trailer_is_taken_wherever_it_is_cut() -> None:
    trailer = b"X: " + b"y" * 10_000 + b"\r\n\r\n"
    for at in (3, 5000, len(trailer) - 3):
        pieces = [b"2\r\nab\r\n0\r\n", trailer[:at], trailer[at:]]
        (found,) = read([head(b"Transfer-Encoding: chunked"), *pieces])
        assert found.body == b"ab"


def test_a_head_without_an_end_is_not_kept_for_ever() -> None:
    reader = RequestReader(MOST)
    reader.feed(b"x" * MOST)
    with pytest.raises(HeadTooLong):
        reader.feed(b"x")


def test_a_length_that_is_told_twice_is_one() -> None:
    (found,) = read([head(b"Content-Length: 2", b"content-length:2,  2") + b"ab"])
    assert (found.body, found.headers["content-length"]) == (b"ab", "2")


def test_a_coding_is_the_same_in_any_case() -> None:
    (found,) = read([head(b"transfer-encoding: Chunked"), b"2\r\nab\r\n0\r\n\r\n"])
    assert found.body == b"ab"


def test_an_absurd_length_is_a_length() -> None:
    reader = RequestReader(20_000)
    assert reader.feed(head(b"Content-Length: " + b"9" * 10_000) + b"body") == b"body"
    assert not reader.is_whole


def test_a_length_is_the_same_with_zeros_before_it() -> None:
    reader = RequestReader(MOST)
    assert reader.feed(head(b"Content-Length: " + b"0" * 30 + b"4") + b"bodyGET") == b"body"
    assert reader.rest == b"GET"


def test_a_head_has_no_more_headers_than_can_be_read_at_once() -> None:
    lines = [b"a:"] * 999  # and Host
    assert RequestReader(20_000).feed(head(*lines) + b"POST") == b""
    with pytest.raises(HeadTooLong):
        RequestReader(20_000).feed(head(*lines, b"a:"))


def test_names_as_long_as_a_head_are_not_remembered() -> None:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(100):
            RequestReader(40_000).feed(head(b"a" * 30_000 + b"%d: b" % number))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 1_000_000
