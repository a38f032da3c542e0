"""A TCP way to a server, which a test can close, block, and cut."""

import asyncio
import socket
import struct
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.emulator.background import BackgroundLoop

_RESET_AT_ONCE = struct.pack("ii", 1, 0)


class Way:
    """Passes on what comes to a port of its own, as a context manager; open at first."""

    def __init__(self, url: str) -> None:
        """`url` is the server's."""
        parts = urlsplit(url)
        self._target = (parts.hostname, parts.port)
        self._place = _bound(("127.0.0.1", 0))  # kept for as long as nobody listens there
        self.url = f"http://127.0.0.1:{self._place.getsockname()[1]}"
        self._loop = BackgroundLoop("way")
        self._server: asyncio.Server | None = None
        self._passes = True
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._loop.start()
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.refuse()
        self._loop.submit(self._end()).result()
        self._loop.stop()
        self._place.close()

    def open(self) -> None:
        """Pass on from now on; what hung until now is reset."""
        self._loop.submit(self._set(listens=True, passes=True, reset=True)).result()

    def refuse(self) -> None:
        """Refuse every connection from now on, and end those that there are."""
        self._loop.submit(self._set(listens=False, passes=True, reset=False)).result()

    def hang(self) -> None:
        """Take connections from now on, and never say a word; end those that there are."""
        self._loop.submit(self._set(listens=True, passes=False, reset=False)).result()

    async def _set(self, *, listens: bool, passes: bool, reset: bool) -> None:
        self._passes = passes
        if listens and self._server is None:
            bound = _bound(self._place.getsockname())
            self._server = await asyncio.start_server(self._serve, sock=bound)
        elif not listens and self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            if reset:
                plain = writer.get_extra_info("socket")
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_ONCE)
            writer.transport.abort()

    async def _end(self) -> None:
        """Wait until every connection is closed, those included that have just been accepted."""
        await _turns()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await _turns()  # in which their transports close

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            if self._passes:
                await self._lead_on(reader, writer)
            else:
                await self._pass_on(reader, writer, passes=False)
        except OSError:
            pass
        finally:
            self._serving.discard(task)
            writer.transport.abort()

    async def _lead_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        try:
            await asyncio.gather(
                self._pass_on(reader, far_writer), self._pass_on(far_reader, writer)
            )
        finally:
            far_writer.transport.abort()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, passes: bool = True
    ) -> None:
        self._writers.add(writer)
        try:
            with suppress(OSError):
                while data := await reader.read(65536):
                    if passes:
                        writer.write(data)
                        await writer.drain()
        finally:
            self._writers.discard(writer)
            writer.close()


async def _turns() -> None:
    """Let the loop do what is due, and what comes of that."""
    for _ in range(3):
        await asyncio.sleep(0)


def _bound(address: tuple[str, int]) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(address)
    return made
