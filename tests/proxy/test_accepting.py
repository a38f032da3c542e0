"""Connections that come faster than others are served, or when no descriptor is left."""

import asyncio
import logging
import resource
import socket
from collections.abc import Iterator

import pytest

from proxy.accepting import Acceptor


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


@pytest.fixture
def limit() -> Iterator[tuple[int, int]]:
    """Of open files; what it was, it is again."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield limit
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)


async def test_other_work_has_its_turn_before_all_are_taken(listener: socket.socket) -> None:
    listener.listen(100)
    clients = [socket.create_connection(listener.getsockname()) for _ in range(40)]
    taken: list[socket.socket] = []
    acceptor = Acceptor(listener, lambda connection, address: taken.append(connection))
    seen = []
    async with asyncio.timeout(10):
        while len(taken) < len(clients):
            await asyncio.sleep(0)
            seen.append(len(taken))
    acceptor.stop()
    assert {16, 32, 40} <= set(seen)
    for each in (*clients, *taken):
        each.close()


async def test_who_gave_up_while_waiting_is_not_begun(listener: socket.socket) -> None:
    gone, there = (socket.create_connection(listener.getsockname()) for _ in range(2))
    gone.sendall(b"hello")
    gone.close()
    taken: asyncio.Queue[socket.socket] = asyncio.Queue()
    acceptor = Acceptor(listener, lambda connection, address: taken.put_nowait(connection))
    async with asyncio.timeout(10):
        with await taken.get() as connection:
            assert connection.getpeername() == there.getsockname()
    assert taken.empty()
    acceptor.stop()
    there.close()


async def test_they_wait_and_are_taken_when_there_is_one(
    listener: socket.socket, limit: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    taken: asyncio.Queue[socket.socket] = asyncio.Queue()
    acceptor = Acceptor(listener, lambda connection, address: taken.put_nowait(connection))
    clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
    for _ in clients:
        (await taken.get()).close()
    waiting = socket.create_connection(listener.getsockname())
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limit[1]))  # which are in use
    with caplog.at_level(logging.ERROR, "proxy.accepting"):
        await asyncio.sleep(1.2)  # two more tries
        assert taken.empty()
        assert [each.getMessage() for each in caplog.records] == ["no connection can be accepted"]
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    async with asyncio.timeout(10):
        (await taken.get()).close()
    acceptor.stop()
    for each in (*clients, waiting):
        each.close()


async def test_stopped_it_takes_none_whether_it_waits_or_not(listener: socket.socket) -> None:
    taken: list[socket.socket] = []
    acceptor = Acceptor(listener, lambda connection, address: taken.append(connection))
    acceptor.stop()
    with socket.create_connection(listener.getsockname()):
        await asyncio.sleep(0.05)
    assert taken == []
