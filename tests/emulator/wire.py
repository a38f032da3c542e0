"""Writes what no well-behaved server would: garbage, halves of answers, early ends."""

import asyncio
import fcntl
import socket
import struct
import termios
from typing import NoReturn

from aiohttp import web

_GARBAGE = b"\x00\xff\x16\x03\x01 this is no HTTP \r\n\r\n" * 8


class Dropped(Exception):
    """The emulator itself closed the connection; there is nothing left to answer."""


def drop(request: web.BaseRequest) -> NoReturn:
    """Close the connection behind what was written so far."""
    if request.transport is not None:
        request.transport.close()
    raise Dropped


def drop_at_once(request: web.BaseRequest) -> NoReturn:
    """Close the connection without another byte."""
    if request.transport is not None:
        request.transport.abort()
    raise Dropped


def reset(request: web.BaseRequest) -> NoReturn:
    """End the connection with a TCP reset, whatever is still to be read or sent."""
    if request.transport is not None:
        reset_transport(request.transport)
    raise Dropped


def reset_transport(transport: asyncio.Transport) -> None:
    """The same for one that may have no request."""
    plain = transport.get_extra_info("socket")
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def reset_behind(request: web.BaseRequest) -> NoReturn:
    """End the connection with a TCP reset once the other side has taken all that was written."""
    if request.transport is not None:
        fd = request.transport.get_extra_info("socket").fileno()
        while fd >= 0 and fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)) != bytes(4):
            await asyncio.sleep(0.001)
    reset(request)


def half_close(request: web.BaseRequest) -> None:
    """Say that nothing more will be sent, and leave the other direction open."""
    if isinstance(request.transport, asyncio.WriteTransport):
        request.transport.write_eof()


def send_garbage(request: web.BaseRequest) -> NoReturn:
    """Answer with bytes that are no HTTP, and close the connection."""
    if request.transport is not None:
        request.transport.write(_GARBAGE)
    drop(request)
