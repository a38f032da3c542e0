"""Writes a container's answer as an AWS event stream, with the faults that can happen to it."""

import asyncio
from random import Random

from aiohttp import web

from tests.emulator.cuts import cut, halves
from tests.emulator.eventstream import (
    corrupted,
    internal_stream_failure,
    model_stream_error,
    payload_part,
)
from tests.emulator.faults import IN_STREAM, Fault
from tests.emulator.wire import drop, reset

_ENDINGS = IN_STREAM | {"drop_in_body", "reset_in_body"}
_LOST = b"this never arrives whole"


class StreamOver(Exception):
    """A fault ended the stream, cleanly as far as HTTP is concerned."""


class EventStreamWriter:
    """Cuts payload into events, and events into HTTP chunks, without holding anything back."""

    def __init__(
        self, request: web.Request, response: web.StreamResponse, rng: Random, fault: Fault | None
    ) -> None:
        self._request = request
        self._response = response
        self._rng = rng
        self._fault = fault
        self._ends_early = fault is not None and fault.kind in IN_STREAM | {
            "drop_in_body",
            "reset_in_body",
        }
        self._delay = fault.delay if fault is not None and fault.kind == "slow_body" else 0.0
        self._sent = 0

    async def send(self, payload: bytes) -> None:
        """Send what the container said, in one or more events."""
        frames = bytearray()
        for part in cut(payload, self._rng):
            if self._ends_early and self._fault is not None and self._sent >= self._fault.after:
                await self._write(bytes(frames))
                await self._end_early(self._fault)
            frames += payload_part(part)
            self._sent += 1
            if self._delay:
                await self._write(bytes(frames))
                frames.clear()
                await asyncio.sleep(self._delay)
        await self._write(bytes(frames))

    async def fail(self, frame: bytes) -> None:
        """Send the exception that ends a stream."""
        await self._write(frame)

    async def finish(self) -> None:
        """End the payload; a fault that had not come up yet does so now."""
        if self._ends_early and self._fault is not None:
            await self._end_early(self._fault)

    async def _write(self, data: bytes) -> None:
        for piece in cut(data, self._rng):
            await self._response.write(piece)

    async def _end_early(self, fault: Fault) -> None:
        match fault.kind:
            case "stream_model_error":
                message = fault.message or "The model failed while it was answering."
                await self._write(model_stream_error(message, fault.error_code))
            case "stream_internal_failure":
                message = fault.message or "An internal failure occurred."
                await self._write(internal_stream_failure(message))
            case "stream_bad_crc":
                await self._write(corrupted(payload_part(_LOST)))
            case "stream_end_early":
                await self._write(halves(payload_part(_LOST))[0])
            case "drop_in_body":
                await self._write(halves(payload_part(_LOST))[0])
                drop(self._request)
            case "reset_in_body":
                await self._write(halves(payload_part(_LOST))[0])
                reset(self._request)
            case "stream_break":
                drop(self._request)
        raise StreamOver
