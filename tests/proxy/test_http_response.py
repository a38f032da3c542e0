"""HTTP/1.1 responses: as h11 reads them, wherever they are cut; and errors of what is none."""

from dataclasses import dataclass

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http_response import MOST_HEAD_BYTES, BadResponse, ResponseReader

NAMES = ("content-type", "x-amzn-requestid", "X-Amzn-Invoked-Production-Variant", "x-a")
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"))


@dataclass(frozen=True)
class Read:
    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool
    keeps_alive: bool


def read(pieces: list[bytes], *, ends: bool = False) -> Read:
    reader = ResponseReader()
    body = b"".join([reader.feed(piece) for piece in pieces])
    if ends:
        reader.end()
    assert reader.head is not None
    whole = reader.is_whole
    return Read(reader.head.status, reader.head.headers, body, whole, reader.keeps_alive)


def h11_read(pieces: list[bytes]) -> Read:
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="POST", target="/", headers=[("Host", "h"), ("a", "b")]))
    connection.send(h11.EndOfMessage())
    status, headers, body = 0, dict[str, str](), b""
    for piece in pieces:
        connection.receive_data(piece)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
                for raw_name, raw_value in event.headers:
                    name, value = raw_name.decode(), raw_value.decode("latin-1")
                    headers[name] = f"{headers[name]}, {value}" if name in headers else value
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif (
                isinstance(event, h11.EndOfMessage) or event is h11.NEED_DATA or event is h11.PAUSED
            ):
                break
    whole = connection.their_state in (h11.DONE, h11.MUST_CLOSE)
    return Read(status, headers, body, whole, connection.their_state is h11.DONE)


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    status = draw(st.sampled_from((200, 202, 400, 404, 424, 503, 204)))
    fields = draw(st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=6))
    lines = [f"HTTP/1.1 {status} {draw(st.sampled_from(('OK', 'Not Found', '')))}"]
    lines += [f"{name}:{draw(st.sampled_from(('', ' ', '  ')))}{value}" for name, value in fields]
    if draw(st.booleans()):
        lines.append("Connection: close")
    parts = draw(st.lists(st.binary(min_size=1, max_size=300), max_size=5))
    if status == 204:
        body = b""
    elif draw(st.booleans()):
        lines.append("Transfer-Encoding: chunked")
        body = b"".join(b"%x;a=b\r\n%s\r\n" % (len(part), part) for part in parts)
        body += b"0\r\n" + draw(st.sampled_from((b"", b"X-Trailer: 1\r\n"))) + b"\r\n"
    else:
        body = b"".join(parts)
        lines.append(f"Content-Length: {len(body)}")
    early = draw(st.sampled_from((b"", b"HTTP/1.1 100 Continue\r\n\r\n")))
    return early + "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@st.composite
def cut(draw: st.DrawFn, data: st.SearchStrategy[bytes]) -> list[bytes]:
    whole = draw(data)
    places = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    return [whole[a:b] for a, b in zip([0, *places], [*places, len(whole)], strict=True)]


@given(cut(responses()))
def test_it_reads_what_h11_reads(pieces: list[bytes]) -> None:
    assert read(pieces) == h11_read([piece for piece in pieces if piece])


@given(cut(responses()), st.integers(0, 10_000), st.integers(0, 255))
def test_damage_is_an_error_or_another_response(pieces: list[bytes], at: int, byte: int) -> None:
    data = bytearray(b"".join(pieces))
    data[at % len(data)] = byte
    reader, body = ResponseReader(), b""
    try:
        for piece in (bytes(data[:at]), bytes(data[at:])):
            body += reader.feed(piece)
    except BadResponse:
        return
    assert len(body) < len(data)


@given(st.lists(st.binary()))
def test_anything_else_is_an_error(pieces: list[bytes]) -> None:
    with pytest.raises(BadResponse):
        read([*pieces, b"\r\n\r\n"], ends=True)


def test_a_value_can_be_passed_on_whatever_is_in_it() -> None:
    head = b"HTTP/1.1 200 OK\r\na: \x00b\nc: \x7fd\te\r\nContent-Length: 0\r\n\r\n"
    assert read([head]).headers["a"] == "b c:  d\te"


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"200 OK\r\nTransfer-Encoding: chunked", b"2\r\nok\r\n0\r\n\r\n"),
        (b"204 No Content", b""),
    ],
)
def test_a_length_that_is_not_the_bodys_is_not_told(head: bytes, body: bytes) -> None:
    whole = read([b"HTTP/1.1 " + head + b"\r\nContent-Length: 50\r\n\r\n" + body])
    assert whole.is_whole
    assert "content-length" not in whole.headers


def test_without_a_length_the_connections_end_is_the_bodys() -> None:
    pieces = [b"HTTP/1.0 200 OK\r\n\r\nab", b"cd"]
    assert not read(pieces).is_whole
    assert read(pieces, ends=True) == Read(200, {}, b"abcd", True, False)


def test_a_connection_that_ends_early_is_an_error() -> None:
    for early in (b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"):
        reader = ResponseReader()
        reader.feed(early)
        with pytest.raises(BadResponse):
            reader.end()


def test_more_than_was_announced_is_nobodys() -> None:
    for data in (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nHTTP",
        b"HTTP/1.1 204 No Content\r\n\r\nabHTTP",
    ):
        whole = read([data])
        assert (whole.body in (b"ab", b""), whole.is_whole, whole.keeps_alive) == (
            True,
            True,
            False,
        )


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/2 200 OK\r\n",
        b"HTTP/1.1 20 OK\r\n",
        b"HTTP/1.1 2000 OK\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n",
        b"HTTP/1.1 200 OK\r\n: no name\r\n",
        b"HTTP/1.1 200 OK\r\nname : value\r\n",
        b"HTTP/1.1 200 OK\r\nname: value\r\n folded: on\r\n",
        b"HTTP/1.1 200 OK\r\nna me: value\r\n",
        b"HTTP/1.1 200 OK\r\nn\x01: value\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n",
        b"HTTP/1.1 000 Nothing\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"x" * MOST_HEAD_BYTES + b"\r\n",
    ],
)
def test_what_is_no_head_is_an_error(head: bytes) -> None:
    with pytest.raises(BadResponse):
        ResponseReader().feed(head + b"\r\n")


@pytest.mark.parametrize(
    "body",
    [
        *(b"\r\n", b"x\r\n", b"-1\r\n", b"1_0\r\n", b"0x1\r\n", b"1" * 17 + b"\r\n"),
        *(b"1\r\nab\r\n", b"1" * 2000, b"0\r\n" + b"x: y\r\n" * MOST_HEAD_BYTES),
    ],
)
def test_what_is_no_chunk_is_an_error(body: bytes) -> None:
    reader = ResponseReader()
    reader.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    with pytest.raises(BadResponse):
        reader.feed(body)


def test_a_head_without_an_end_is_not_kept_for_ever() -> None:
    with pytest.raises(BadResponse):
        read([b"HTTP/1.1 200 OK\r\n", *[b"x: " + b"y" * 1000 + b"\r\n"] * 100])
