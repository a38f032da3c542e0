"""Writes a plain answer's body with the faults that can happen to it."""

import asyncio
from collections.abc import Mapping

from aiohttp import web

from tests.emulator.cuts import halves
from tests.emulator.faults import Fault
from tests.emulator.wire import drop, reset, reset_behind

_PIECES = 8


async def send_body(
    request: web.Request, headers: Mapping[str, str], body: bytes, fault: Fault
) -> web.StreamResponse:
    """Send the body as far as the fault, one of `faults.IN_BODY`, lets it come."""
    response = web.StreamResponse(headers=headers)
    breaking = fault.kind in ("drop_in_body", "reset_in_body")
    response.content_length = max(len(body), 1) if breaking else len(body)
    if fault.kind == "reset_after_body":
        response.force_close()  # or the reset might be the next call's
    await response.prepare(request)
    if breaking:
        await response.write(halves(body)[0])
        (reset if fault.kind == "reset_in_body" else drop)(request)
    size = max(len(body) // _PIECES, 1)
    for start in range(0, len(body), size):
        await response.write(body[start : start + size])
        if fault.kind == "slow_body":
            await asyncio.sleep(fault.delay)
    await response.write_eof()
    if fault.kind == "reset_after_body":
        await reset_behind(request)
    return response
