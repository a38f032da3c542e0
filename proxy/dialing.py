"""A socket to a host of several addresses, of which some may be dead (RFC 8305)."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import Any

# What an address has to itself before the next is tried beside it; RFC 8305 recommends it.
_HEAD_START_SECONDS = 0.25


async def dial(host: str, port: int) -> socket.socket:
    """Return the first connection that there is to one of the host's addresses.

    Raises ``OSError``, that of the last address, if there is none to any.
    """
    loop = asyncio.get_running_loop()
    left = deque(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    trying: set[asyncio.Task[socket.socket]] = set()
    failure = OSError("the host has no address")
    try:
        while left or trying:
            if left:
                trying.add(loop.create_task(_connect(*left.popleft())))
            seconds = _HEAD_START_SECONDS if left else None
            done, _ = await asyncio.wait(
                trying, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            for each in done:
                trying.discard(each)
                error = each.exception()
                if error is None:
                    return each.result()
                if not isinstance(error, OSError):
                    raise error
                failure = error
        raise failure
    finally:
        for each in trying:
            each.cancel()
            each.add_done_callback(_close)


async def _connect(
    family: int, kind: int, protocol: int, _name: str, address: Any
) -> socket.socket:
    made = socket.socket(family, kind, protocol)
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, address)
    except BaseException:
        made.close()
        raise
    return made


def _close(late: asyncio.Task[socket.socket]) -> None:
    """Another one has come first, or nobody waits any more."""
    if not late.cancelled() and late.exception() is None:
        late.result().close()
