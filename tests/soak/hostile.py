"""Clients that mean no good: they leave in the middle, dawdle, and speak what is no HTTP."""

import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable

from tests.soak.judging import Outcome
from tests.soak.ledger import Ledger
from tests.soak.site import Site

_PAUSE_SECONDS = (0.5, 2.0)
_PATIENCE_SECONDS = 30.0
_PIPELINED = 5
_READ_BYTES = 65536

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Hostile:
    """One such client, each time over a connection of its own."""

    def __init__(self, site: Site, ledger: Ledger, seed: int) -> None:
        self._site = site
        self._ledger = ledger
        self._rng = random.Random(seed)
        said = {"model": "steady-chat", "messages": [{"role": "user", "content": "Tell me all"}]}
        self._chat = self._post("/v1/chat/completions", json.dumps({**said, "stream": True}))
        self._large = self._post("/endpoints/steady-echo/invocations", "x" * 2_000_000)
        self._ways: list[Callable[[Streams], Awaitable[str]]] = [
            self._leave_in_the_head,
            self._leave_in_the_body,
            self._leave_before_the_answer,
            self._leave_in_the_stream,
            self._never_read,
            self._dawdle,
            self._say_nothing,
            self._speak_no_http,
            self._say_two_lengths,
            self._pipeline,
        ]

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            await asyncio.sleep(self._rng.uniform(*_PAUSE_SECONDS))
            if self._rng.random() < 0.1:
                await self._speak_no_tls()
            else:
                await self._do(self._rng.choice(self._ways))

    async def _do(self, way: Callable[[Streams], Awaitable[str]]) -> None:
        kind, broken = "hostile", ""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                port = self._site.proxy.port
                streams = await asyncio.open_connection("localhost", port, ssl=self._site.tls)
                try:
                    with contextlib.suppress(ConnectionError):  # it may be sent away
                        broken = await way(streams)
                finally:
                    streams[1].transport.abort()
        except (TimeoutError, OSError) as exc:
            broken = repr(exc)
        story = f"{way.__name__.strip('_')}: {broken}"
        self._ledger.note(kind, Outcome.BROKEN if broken else Outcome.LEFT, story)

    # --- each returns what it was owed and did not get --------------------------------------------

    async def _leave_in_the_head(self, streams: Streams) -> str:
        streams[1].write(self._chat[: self._rng.randint(1, 60)])
        await streams[1].drain()
        return ""

    async def _leave_in_the_body(self, streams: Streams) -> str:
        streams[1].write(self._large[: self._rng.randint(200, 1_000_000)])
        await streams[1].drain()
        return ""

    async def _leave_before_the_answer(self, streams: Streams) -> str:
        streams[1].write(self._chat)
        await streams[1].drain()
        return ""

    async def _leave_in_the_stream(self, streams: Streams) -> str:
        streams[1].write(self._chat)
        try:
            await streams[0].readuntil(b"data: ")
        except asyncio.IncompleteReadError as exc:
            return f"no stream: {exc.partial!r}"
        return ""

    async def _never_read(self, streams: Streams) -> str:
        streams[1].transport.pause_reading()  # type: ignore[attr-defined]
        streams[1].write(self._large)
        await asyncio.sleep(self._rng.uniform(0.5, 3))
        return ""

    async def _dawdle(self, streams: Streams) -> str:
        for at in range(self._rng.randint(5, 20)):
            streams[1].write(self._chat[at : at + 1])
            await asyncio.sleep(0.2)
        return ""

    async def _say_nothing(self, streams: Streams) -> str:
        await asyncio.sleep(self._rng.uniform(0.5, 4))
        return ""

    async def _speak_no_http(self, streams: Streams) -> str:
        streams[1].write(self._rng.randbytes(200) + b"\r\n\r\n")
        return await _owed(streams, b" 400 ")

    async def _say_two_lengths(self, streams: Streams) -> str:
        twice = self._chat.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\n", 1)
        streams[1].write(twice)
        return await _owed(streams, b" 400 ")

    async def _pipeline(self, streams: Streams) -> str:
        streams[1].write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * _PIPELINED)
        received = b""
        while received.count(b"HTTP/1.1 ") < _PIPELINED and (
            data := await streams[0].read(_READ_BYTES)
        ):
            received += data
        heads = received.count(b"HTTP/1.1 200 ")
        # A worker that drains answers one more request of a connection, and says so.
        told_to_go = b"connection: close" in received.lower()
        return "" if heads == _PIPELINED or (heads and told_to_go) else f"{heads} of {_PIPELINED}"

    async def _speak_no_tls(self) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                _, writer = await asyncio.open_connection("localhost", self._site.proxy.port)
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                await asyncio.sleep(0.1)
                writer.transport.abort()
        self._ledger.note("hostile", Outcome.LEFT)

    def _post(self, path: str, body: str) -> bytes:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {self._site.proxy.key}\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


async def _owed(streams: Streams, status: bytes) -> str:
    """Whether an answer of this status comes, or a clean end."""
    line = await streams[0].readline()
    return "" if not line or status in line else f"{line!r}"
