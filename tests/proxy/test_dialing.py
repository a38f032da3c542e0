"""Sockets to hosts with several addresses, some of which are dead."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from proxy import dialing

Address = tuple[str, int]


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def listening(sockets: ExitStack) -> Address:
    address: Address = sockets.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()
    return address


def refusing() -> Address:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address: Address = server.getsockname()
    return address


def silent(sockets: ExitStack) -> Address:
    """One that takes no more connections, and does not say so."""
    server = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    address: Address = server.getsockname()
    for _ in range(4):
        waiting = sockets.enter_context(socket.socket())
        waiting.setblocking(False)
        waiting.connect_ex(address)
    return address


async def dial(*addresses: Address) -> Address:
    """Dial a host that has these; returns the one that was taken."""
    kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")

    async def resolve(*_: object, **__: object) -> list[tuple[Any, ...]]:
        return [(*kind, address) for address in addresses]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
        with await dialing.dial("two.example", 443) as made:
            peer: Address = made.getpeername()
            return peer


async def test_the_first_is_taken_if_it_answers(sockets: ExitStack) -> None:
    first, second = listening(sockets), listening(sockets)
    assert await dial(first, second) == first


async def test_one_that_refuses_is_passed_over_at_once(sockets: ExitStack) -> None:
    began = time.monotonic()
    there = listening(sockets)
    assert await dial(refusing(), refusing(), there) == there
    assert time.monotonic() - began < 0.2


async def test_one_that_is_silent_holds_nobody_up(sockets: ExitStack) -> None:
    there = listening(sockets)
    async with asyncio.timeout(2):
        assert await dial(silent(sockets), silent(sockets), there) == there


async def test_if_all_refuse_the_last_tells_why() -> None:
    with pytest.raises(ConnectionRefusedError):
        await dial(refusing(), refusing())


async def test_a_host_without_an_address_is_an_error() -> None:
    with pytest.raises(OSError, match="no address"):
        await dial()


async def test_who_gives_up_leaves_nothing_open(sockets: ExitStack) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.4):
            await dial(silent(sockets), silent(sockets))
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1
