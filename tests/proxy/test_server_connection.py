"""Requests on a connection are answered in turn; what ends one ends it for its taker, too."""

import asyncio
import gc
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets

from proxy.handlers.exchange import Exchange
from proxy.handlers.services import WorkerState
from proxy.http_request import Request
from proxy.http_server import HTTPServer
from proxy.server_connection import ServerConnection

POST = b"POST /%b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


class Echo(Exchange):
    """Answers a request with its path and body, when it is let to."""

    def __init__(self, connection: ServerConnection, request: Request) -> None:
        super().__init__(connection, request)
        self.connection = connection
        self.body = b""
        self.is_whole = asyncio.Event()
        self.is_broken = ""
        self.times_left = 0

    def data_received(self, chunk: bytes) -> None:
        self.body += chunk

    def body_received(self) -> None:
        self.is_whole.set()

    def answer(self) -> None:
        self.write(self.request.uri.encode() + b" " + self.body)
        self.finish()

    def body_broken(self, reason: str) -> None:
        self.is_broken = reason
        self.answer()

    def on_connection_close(self) -> None:
        self.times_left += 1


class AtOnce(Echo):
    def body_received(self) -> None:
        self.answer()


class Pausing(AtOnce):
    """Lets its client's next request wait."""

    def body_received(self) -> None:
        self.pause_after(3600)
        super().body_received()


class Early(Echo):
    """Answers before it has been sent anything."""

    def __init__(self, connection: ServerConnection, request: Request) -> None:
        super().__init__(connection, request)
        self.answer()


@asynccontextmanager
async def serving(
    kind: Callable[[ServerConnection, Request], Echo],
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, asyncio.Queue[Echo]]]:
    takers: asyncio.Queue[Echo] = asyncio.Queue()

    def take(connection: ServerConnection, request: Request) -> Echo:
        taker = kind(connection, request)
        takers.put_nowait(taker)
        return taker

    server = HTTPServer(
        take,
        WorkerState(),
        most_head_bytes=8192,
        most_connections=5,
        idle_seconds=10,
        body_seconds=10,
    )
    (listening,) = bind_sockets(0, "127.0.0.1")
    server.add_sockets([listening])
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    try:
        yield reader, writer, takers
    finally:
        server.stop()
        writer.close()
        await server.close_connections()


async def read_answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head, await reader.readexactly(length)


async def test_requests_sent_at_once_are_answered_in_turn() -> None:
    async with serving(Echo) as (reader, writer, takers):
        writer.write(b"".join(POST % (b"%d" % n, 3, b"abc") for n in range(3)))
        for number in range(3):
            taker = await takers.get()
            await taker.is_whole.wait()
            assert takers.empty()  # the next one waits for this answer
            taker.answer()
            assert (await read_answer(reader))[1] == b"/%d abc" % number


async def test_a_body_is_what_is_in_its_chunks_wherever_they_are_cut() -> None:
    async with serving(AtOnce) as (reader, writer, _):
        for piece in (CHUNKED[:50], CHUNKED[50:] + b"3\r\nab", b"c\r\n0", b"\r\n\r\n" + CHUNKED):
            writer.write(piece)
            await writer.drain()
        assert (await read_answer(reader))[1] == b"/ abc"
        writer.write(b"0\r\n\r\n")
        assert (await read_answer(reader))[1] == b"/ "


async def test_an_answer_before_the_body_is_the_last_one() -> None:
    async with serving(Early) as (reader, writer, takers):
        writer.write(POST % (b"", 100, b"half"))
        assert (await read_answer(reader))[1] == b"/ "
        assert await reader.read() == b""
        assert (await takers.get()).times_left == 0


async def test_a_body_that_breaks_off_into_nonsense_is_told_to_its_taker() -> None:
    async with serving(AtOnce) as (reader, writer, takers):
        writer.write(CHUNKED + b"3\r\nabc\r\n")
        taker = await takers.get()
        writer.write(b"nonsense\r\n")
        assert (await read_answer(reader))[1] == b"/ abc"
        assert await reader.read() == b""
        assert taker.is_broken == "of the body, a chunk has no size"


@pytest.mark.parametrize(
    ("sent", "status"),
    [(b"nonsense\r\n\r\n", b"400"), (b"GET / HTTP/1.1\r\nX: " + b"x" * 8192, b"431")],
)
async def test_what_is_no_request_is_answered_once(sent: bytes, status: bytes) -> None:
    async with serving(AtOnce) as (reader, writer, takers):
        writer.write(sent)
        head, body = await read_answer(reader)
        assert head.startswith(b"HTTP/1.1 " + status)
        assert json.loads(body)["error"]["code"] == "bad_request"
        assert await reader.read() == b""
        assert takers.empty()


@pytest.mark.parametrize("sent", [POST % (b"", 100, b"half"), POST % (b"", 5, b"whole")])
async def test_a_client_that_leaves_is_told_of_once(sent: bytes) -> None:
    async with serving(Echo) as (_, writer, takers):
        writer.write(sent)
        taker = await takers.get()
        writer.close()
        async with asyncio.timeout(5):
            while not taker.times_left:
                await asyncio.sleep(0)
        taker.stream.close()
        await asyncio.sleep(0)
        assert taker.times_left == 1


async def test_one_that_pauses_has_its_answer_and_waits_with_its_next_request() -> None:
    async with serving(Pausing) as (reader, writer, takers):
        writer.write(POST % (b"first", 0, b""))
        taker = await takers.get()
        assert (await read_answer(reader))[1] == b"/first "
        writer.write(POST % (b"second", 0, b""))
        answer = asyncio.ensure_future(read_answer(reader))
        await asyncio.wait((answer,), timeout=0.1)
        assert takers.empty()
        taker.connection.resume()
        assert (await answer)[1] == b"/second "


async def test_one_that_pauses_ends_when_its_client_leaves() -> None:
    async with serving(Pausing) as (reader, writer, takers):
        writer.write(POST % (b"", 0, b""))
        taker = await takers.get()
        await read_answer(reader)
        writer.close()
        async with asyncio.timeout(5):
            await taker.connection.close()  # waits for the end of what serves it


async def test_an_answer_is_not_lost_with_who_waits_for_it_to_be_taken() -> None:
    async with serving(Echo) as (reader, writer, takers):
        writer.write(POST % (b"", 0, b""))
        taker = await takers.get()
        await taker.is_whole.wait()
        size = 20_000_000  # more than any buffer between the two
        taker.set_header("Content-Length", str(size))
        taker.write(b"x" * (size - 1))
        waits = asyncio.ensure_future(taker.flush())
        await asyncio.sleep(0)
        waits.cancel()
        taker.write(b"y")
        taker.finish()
        _, body = await read_answer(reader)
        assert (len(body), body[-1:]) == (size, b"y")


class Refused(Echo):
    """Sends its answer before it has been sent anything, and completes it when it has."""

    def __init__(self, connection: ServerConnection, request: Request) -> None:
        super().__init__(connection, request)
        self.set_header("Content-Length", "100000")
        self.write(b"x" * 100_000)
        self.flush()

    def body_received(self) -> None:
        self.finish()


async def test_no_request_is_read_while_the_answer_before_is_not_taken() -> None:
    async with serving(Refused) as (reader, writer, takers):
        count = 400  # their answers are more than any buffer between the two
        writer.write(POST % (b"", 0, b"") * count)
        stream = (await takers.get()).stream
        while not stream.writing():
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert takers.qsize() < count / 2
        for _ in range(count):
            await read_answer(reader)


class ClosesAfter(IOStream):
    """Closes when so many reads are done, before whoever waits for the last has its turn."""

    def __init__(self, end: socket.socket, reads: int) -> None:
        super().__init__(end)
        self._reads = reads

    def read_bytes(self, num_bytes: int, partial: bool = False) -> Awaitable[bytes]:
        future = asyncio.ensure_future(super().read_bytes(num_bytes, partial))
        self._reads -= 1
        if not self._reads:
            future.add_done_callback(lambda _: self.close())
        return future


@asynccontextmanager
async def closing_after(
    reads: int,
) -> AsyncIterator[tuple[socket.socket, asyncio.Queue[Echo], asyncio.Event]]:
    """The client's end of a connection, what its requests led to, and when it has ended."""
    ours, theirs = socket.socketpair()
    takers: asyncio.Queue[Echo] = asyncio.Queue()
    ended = asyncio.Event()

    def take(connection: ServerConnection, request: Request) -> Echo:
        taker = Echo(connection, request)
        takers.put_nowait(taker)
        return taker

    stream = ClosesAfter(ours, reads)
    ServerConnection(stream, "", 8192, take).start(lambda _: ended.set())
    while not stream.reading():
        await asyncio.sleep(0)
    with theirs:
        yield theirs, takers, ended


async def test_a_request_that_arrives_just_before_the_end_is_not_taken() -> None:
    async with closing_after(1) as (client, takers, ended):
        client.send(POST % (b"", 3, b"abc"))
        await asyncio.wait_for(ended.wait(), 5)
        assert takers.empty()


async def test_a_body_that_arrives_just_before_the_end_leads_to_nothing() -> None:
    async with closing_after(2) as (client, takers, ended):
        client.send(POST % (b"", 3, b""))
        taker = await takers.get()
        client.send(b"abc")
        await asyncio.wait_for(ended.wait(), 5)
        assert not taker.is_whole.is_set()
        assert taker.times_left == 1


async def test_many_requests_at_once_leave_others_their_turn() -> None:
    async with serving(AtOnce) as (reader, writer, takers):
        count = 1000
        writer.write((POST % (b"", 0, b"")) * count)
        await takers.get()
        assert takers.qsize() < 10
        for _ in range(count):
            await read_answer(reader)


@pytest.mark.parametrize(("version", "knows_it"), [(b"1.1", True), (b"1.0", False)])
async def test_who_waits_for_our_word_is_given_it(version: bytes, knows_it: bool) -> None:
    async with serving(AtOnce) as (reader, writer, takers):
        head = POST.replace(b"1.1", version) % (b"", 3, b"")
        writer.write(head.replace(b"Host", b"Expect: 100-continue\r\nHost"))
        await takers.get()
        if knows_it:
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        head, body = await read_answer(reader)
        assert (head[:15], body) == (b"HTTP/1.1 200 OK", b"/ abc")


async def test_a_client_that_leaves_a_refusal_untaken_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(Refused) as (_, writer, takers):
        writer.write((POST % (b"", 0, b"")) * 200)
        taker = await takers.get()
        while not taker.stream.writing():
            await asyncio.sleep(0)
        writer.transport.abort()
        async with asyncio.timeout(5):
            while not taker.stream.closed():
                await asyncio.sleep(0)
    del taker, takers
    await asyncio.sleep(0)
    gc.collect()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
