"""Connections to SageMaker, against a real server that does what each test has it do."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy import certificates
from proxy.connection import ConnectionBroken, Response
from proxy.connection_pool import ConnectFailed, ConnectionPool, ConnectTimeout

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

HEAD = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """What the pool is connected to: each connection is taken up in its test."""

    def __init__(self) -> None:
        self.port = 0
        self._accepted: asyncio.Queue[Streams] = asyncio.Queue()
        self._open: list[asyncio.StreamWriter] = []

    async def accept(self) -> Streams:
        async with asyncio.timeout(10):
            return await self._accepted.get()

    @property
    def has_more(self) -> bool:
        return not self._accepted.empty()

    @asynccontextmanager
    async def running(self, context: ssl.SSLContext | None = None) -> AsyncIterator[None]:
        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._open.append(writer)
            await self._accepted.put((reader, writer))

        server = await asyncio.start_server(take, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        yield
        server.close()
        for writer in self._open:
            writer.transport.abort()
        await server.wait_closed()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with server.running():
        yield server


def make(
    port: int,
    most: int = 10,
    connect: float = 5,
    read: float = 5,
    keep_alive: float = 30,
    context: ssl.SSLContext | None = None,
) -> ConnectionPool:
    return ConnectionPool(
        "localhost" if context else "127.0.0.1",
        port,
        context,
        most=most,
        connect_timeout_seconds=connect,
        read_timeout_seconds=read,
        keep_alive_seconds=keep_alive,
    )


@pytest.fixture
async def pool(server: Server) -> AsyncIterator[ConnectionPool]:
    pool = make(server.port)
    yield pool
    await pool.close()


def ask(pool: ConnectionPool, body: bytes = b"hi") -> asyncio.Task[Response]:
    return asyncio.create_task(pool.request(HEAD.replace(b": 2", b": %d" % len(body)), body))


async def take_request(streams: Streams, body: bytes = b"hi") -> None:
    assert (await streams[0].readuntil(b"\r\n\r\n")).startswith(b"POST / ")
    assert await streams[0].readexactly(len(body)) == body


async def read_all(response: Response) -> bytes:
    body = b""
    while data := await response.read():
        body += data
    response.close()
    return body


async def answered(pool: ConnectionPool, streams: Streams, answer: bytes = OK) -> bytes:
    asked = ask(pool)
    await take_request(streams)
    streams[1].write(answer)
    return await read_all(await asked)


async def test_a_request_goes_out_and_its_answer_comes_in(
    server: Server, pool: ConnectionPool
) -> None:
    asked = ask(pool)
    there = await server.accept()
    await take_request(there)
    there[1].write(b"HTTP/1.1 404 Not Found\r\nX-Served-By: me\r\nContent-Length: 2\r\n\r\nno")
    response = await asked
    assert (response.status, response.headers["x-served-by"]) == (404, "me")
    assert await read_all(response) == b"no"


async def test_the_body_is_read_as_it_comes(server: Server, pool: ConnectionPool) -> None:
    asked = ask(pool)
    there = await server.accept()
    there[1].write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    response = await asked
    for word in (b"one", b"two"):
        there[1].write(b"3\r\n%s\r\n" % word)
        assert await response.read() == word
    there[1].write(b"0\r\n\r\n")
    assert await response.read() == b""


class TestKeeping:
    async def test_a_connection_is_used_again(self, server: Server, pool: ConnectionPool) -> None:
        asked = ask(pool)
        there = await server.accept()
        there[1].write(OK)
        await take_request(there)
        await read_all(await asked)
        for _ in range(3):
            assert await answered(pool, there) == b"ok"
        assert not server.has_more

    async def test_it_is_free_before_its_answer_has_been_read(
        self, server: Server, pool: ConnectionPool
    ) -> None:
        first = ask(pool)
        there = await server.accept()
        await take_request(there)
        there[1].write(OK)
        unread = await first
        assert await answered(pool, there) == b"ok"
        assert await read_all(unread) == b"ok"

    @pytest.mark.parametrize(
        "answer",
        [
            OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"),
            OK + b"and more",
            b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ],
    )
    async def test_one_that_is_to_end_is_not(
        self, server: Server, pool: ConnectionPool, answer: bytes
    ) -> None:
        asked = ask(pool)
        there = await server.accept()
        await take_request(there)
        there[1].write(answer)
        assert await read_all(await asked) == b"ok"
        again = ask(pool)
        (await server.accept())[1].write(OK)
        assert await read_all(await again) == b"ok"

    async def test_one_that_the_other_side_has_ended_is_not(
        self, server: Server, pool: ConnectionPool
    ) -> None:
        asked = ask(pool)
        there = await server.accept()
        there[1].write(OK)
        await read_all(await asked)
        await take_request(there)
        there[1].close()
        assert await there[0].read() == b""  # ours has ended, too
        again = ask(pool)
        (await server.accept())[1].write(OK)
        assert await read_all(await again) == b"ok"

    async def test_one_whose_end_is_not_noticed_yet_is_not(self) -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            pool = make(listening.getsockname()[1])
            for _ in range(3):
                asked = ask(pool)
                there, _ = await loop.sock_accept(listening)
                await loop.sock_recv(there, len(HEAD))
                await loop.sock_sendall(there, OK)
                await read_all(await asked)
                there.close()  # the next one asks before the loop has looked
        await pool.close()

    async def test_one_that_speaks_unasked_is_ended(
        self, server: Server, pool: ConnectionPool
    ) -> None:
        asked = ask(pool)
        there = await server.accept()
        await take_request(there)
        there[1].write(OK)
        await read_all(await asked)
        there[1].write(OK)
        with pytest.raises(ConnectionError):
            await read_until_reset(there[0])

    async def test_one_that_nobody_uses_is_ended(self, server: Server) -> None:
        pool = make(server.port, keep_alive=0.05)
        asked = ask(pool)
        there = await server.accept()
        await take_request(there)
        there[1].write(OK)
        await read_all(await asked)
        async with asyncio.timeout(10):
            with pytest.raises(ConnectionError):
                await read_until_reset(there[0])
        await pool.close()


async def read_until_reset(reader: asyncio.StreamReader) -> None:
    """A connection that is aborted may end with a reset, or without."""
    await reader.read()
    raise ConnectionResetError


class TestBound:
    async def test_who_finds_none_free_waits_in_line(self, server: Server) -> None:
        pool = make(server.port, most=1)
        first, second, third = ask(pool, b"1"), ask(pool, b"2"), ask(pool, b"3")
        there = await server.accept()
        for number, asked in ((b"1", first), (b"2", second), (b"3", third)):
            await take_request(there, number)
            there[1].write(OK)
            assert await read_all(await asked) == b"ok"
        assert not server.has_more
        await pool.close()

    async def test_who_leaves_the_line_lets_the_next_go_first(self, server: Server) -> None:
        pool = make(server.port, most=1)
        first, second, third = ask(pool, b"1"), ask(pool, b"2"), ask(pool, b"3")
        there = await server.accept()
        await take_request(there, b"1")
        second.cancel()
        there[1].write(OK)
        await first
        third_again = asyncio.gather(third, second, return_exceptions=True)
        await take_request(there, b"3")
        there[1].write(OK)
        response, cancelled = await third_again
        assert isinstance(cancelled, asyncio.CancelledError)
        assert isinstance(response, Response)
        await pool.close()

    async def test_who_is_gone_when_its_turn_comes_gives_it_to_the_next(
        self, server: Server
    ) -> None:
        pool = make(server.port, most=1)

        async def ask_first() -> None:
            await pool.request(HEAD.replace(b": 2", b": 1"), b"1")
            second.cancel()  # it has been given the connection, and has not run since

        first = asyncio.create_task(ask_first())
        there = await server.accept()
        second, third = ask(pool, b"2"), ask(pool, b"3")
        await take_request(there, b"1")
        there[1].write(OK)
        await first
        await take_request(there, b"3")
        there[1].write(OK)
        await third
        await pool.close()

    async def test_when_one_ends_the_next_in_line_makes_its_own(self, server: Server) -> None:
        pool = make(server.port, most=1)
        first, second = ask(pool), ask(pool)
        (await server.accept())[1].transport.abort()
        with pytest.raises(ConnectionBroken):
            await first
        (await server.accept())[1].write(OK)
        assert await read_all(await second) == b"ok"
        await pool.close()

    async def test_failures_take_no_room(self, server: Server, unused: int) -> None:
        pool = make(unused, most=1)
        for _ in range(3):
            with pytest.raises(ConnectFailed):
                await ask(pool)
        await pool.close()
        pool = make(server.port, most=1)
        for _ in range(3):
            asked = ask(pool)
            await server.accept()
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
        await pool.close()


@pytest.fixture
def unused() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


async def test_many_at_once_get_each_its_own_answer(server: Server) -> None:
    pool = make(server.port, most=7)

    async def echo() -> None:
        reader, writer = await server.accept()
        while await reader.readline():
            await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(4)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n" + body)

    async def ask_often(number: int) -> None:
        for time in range(50):
            body = b"%02d%02d" % (number, time)
            response = await pool.request(HEAD.replace(b": 2", b": 4"), body)
            assert await read_all(response) == body
            for _ in range(number % 5):
                await asyncio.sleep(0)

    echoing = [asyncio.create_task(echo()) for _ in range(7)]
    async with asyncio.timeout(20):
        await asyncio.gather(*map(ask_often, range(30)))
    await pool.close()
    for task in echoing:
        task.cancel()
    await asyncio.gather(*echoing, return_exceptions=True)


class TestFailures:
    async def test_refused(self, unused: int) -> None:
        with pytest.raises(ConnectFailed) as caught:
            await ask(make(unused))
        assert not caught.value.is_final

    async def test_a_handshake_that_does_not_come(self, server: Server) -> None:
        pool = make(server.port, connect=0.05, context=ssl.create_default_context())
        with pytest.raises(ConnectTimeout):
            await ask(pool)

    async def test_a_certificate_that_is_not_trusted(self, tmp_path: Path) -> None:
        pair = certificates.create(tmp_path, ["localhost"])
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair.certificate, pair.private_key)
        server = Server()
        async with server.running(context):
            with pytest.raises(ConnectFailed) as caught:
                await ask(make(server.port, context=ssl.create_default_context()))
            assert caught.value.is_final
            trusting = ssl.create_default_context(cafile=pair.certificate)
            pool = make(server.port, context=trusting)
            asked = ask(pool)
            (await server.accept())[1].write(OK)
            assert await read_all(await asked) == b"ok"
            await pool.close()

    @pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", b"what is this?\r\n\r\n"])
    async def test_no_answer(self, server: Server, pool: ConnectionPool, answer: bytes) -> None:
        asked = ask(pool)
        there = await server.accept()
        there[1].write(answer)
        there[1].close()
        with pytest.raises(ConnectionBroken):
            await asked

    async def test_an_error_of_any_kind_is_told_and_takes_no_room(self, server: Server) -> None:
        pool = make(server.port, most=1)
        asked = ask(pool)
        await take_request(await server.accept())
        (connection,) = pool._all
        connection.connection_lost(RuntimeError("nobody has foreseen this"))
        with pytest.raises(ConnectionBroken):
            await asked
        again = ask(pool)
        (await server.accept())[1].write(OK)
        assert await read_all(await again) == b"ok"
        await pool.close()

    async def test_what_came_before_the_break_is_read_first(
        self, server: Server, pool: ConnectionPool
    ) -> None:
        asked = ask(pool)
        there = await server.accept()
        there[1].write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        there[1].close()
        response = await asked
        await asyncio.sleep(0.05)  # both are here
        assert await response.read() == b"one"
        with pytest.raises(ConnectionBroken):
            await response.read()

    async def test_silence(self, server: Server) -> None:
        pool = make(server.port, read=0.05)
        asked = ask(pool)
        there = await server.accept()
        with pytest.raises(TimeoutError):
            await asked
        asked = ask(pool)
        there = await server.accept()
        there[1].write(OK[:-1])
        response = await asked
        assert await response.read() == b"o"
        with pytest.raises(TimeoutError):
            await response.read()
        await pool.close()

    async def test_a_word_now_and_then_is_no_silence(self, server: Server) -> None:
        pool = make(server.port, read=0.2)
        asked = ask(pool)
        there = await server.accept()
        there[1].write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        response = await asked
        for _ in range(10):
            await asyncio.sleep(0.05)
            there[1].write(b".")
            assert await response.read() == b"."
        assert await response.read() == b""
        await pool.close()

    async def test_one_that_is_closed_early_ends_its_connection(
        self, server: Server, pool: ConnectionPool
    ) -> None:
        asked = ask(pool)
        there = await server.accept()
        await take_request(there)
        there[1].write(OK[:-1])
        (await asked).close()
        async with asyncio.timeout(10):
            with pytest.raises(ConnectionError):
                await read_until_reset(there[0])


class TestBackPressure:
    SIZE = 64 * 1024 * 1024

    async def test_an_answer_is_not_read_ahead_of_who_takes_it(self, server: Server) -> None:
        pool = make(server.port, read=0.2)
        asked = ask(pool)
        there = await server.accept()
        there[1].write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self.SIZE)
        there[1].write(bytes(self.SIZE))
        response = await asked
        await asyncio.sleep(0.5)  # it is longer than silence may be; nobody has read
        sent = self.SIZE - there[1].transport.get_write_buffer_size()
        assert sent < self.SIZE / 2
        first = await response.read()
        assert len(first) < 1024 * 1024
        assert len(first) + len(await read_all(response)) == self.SIZE
        await pool.close()

    async def test_a_large_body_is_sent_as_the_other_side_takes_it(
        self, server: Server, pool: ConnectionPool
    ) -> None:
        body = bytes(range(256)) * (self.SIZE // 256)
        asked = ask(pool, body)
        there = await server.accept()
        await take_request(there, body)
        there[1].write(OK)
        assert await read_all(await asked) == b"ok"

    async def test_one_that_is_refused_early_is_not_sent_to_its_end(
        self, server: Server, pool: ConnectionPool
    ) -> None:
        asked = ask(pool, bytes(self.SIZE))
        there = await server.accept()
        there[1].write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        response = await asked
        assert (response.status, await read_all(response)) == (413, b"no")
        again = ask(pool)
        (await server.accept())[1].write(OK)
        assert await read_all(await again) == b"ok"

    async def test_one_that_is_answered_while_it_is_read_is_sent_to_its_end(
        self, server: Server, pool: ConnectionPool
    ) -> None:
        body = bytes(self.SIZE // 4)
        asked = ask(pool, body)
        there = await server.accept()
        there[1].write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        response = await asked
        await take_request(there, body)
        there[1].write(b"ok")
        assert await read_all(response) == b"ok"

    async def test_one_that_nobody_takes_is_given_up(self, server: Server) -> None:
        pool = make(server.port, read=0.1)
        with pytest.raises(TimeoutError):
            await ask(pool, bytes(self.SIZE))
        await pool.close()


async def test_to_close_ends_every_connection(server: Server, pool: ConnectionPool) -> None:
    first, second = ask(pool), ask(pool)
    idle, busy = await server.accept(), await server.accept()
    idle[1].write(OK)
    done, _ = await asyncio.wait((first, second), return_when=asyncio.FIRST_COMPLETED)
    await read_all(done.pop().result())
    await pool.close()
    for there in (idle, busy):
        with pytest.raises(ConnectionError):
            await read_until_reset(there[0])
    await asyncio.gather(first, second, return_exceptions=True)
