"""Writes what no well-behaved server would: garbage, halves of answers, early ends."""

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


def send_garbage(request: web.BaseRequest) -> NoReturn:
    """Answer with bytes that are no HTTP, and close the connection."""
    if request.transport is not None:
        request.transport.write(_GARBAGE)
    drop(request)
