"""Clients that call without pause, and streams, while something happens to the service."""

from __future__ import annotations

import asyncio
import gc
import ssl
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

import aiohttp

from tests.testhost import slow_chat

# A model that took no time would have the callers use up the machine, and all that is going on take
# several times as long. So each has a call under way at any moment, but no more than ten a second.
_MODEL = "demo-echo"
_MODEL_SECONDS = 0.1

_TIMEOUT = aiohttp.ClientTimeout(total=120)
_START_SECONDS = 60.0
_STOP_SECONDS = 120.0


@dataclass
class Counts:
    """What has happened to the clients so far."""

    answered: int = 0
    failed: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    begun: int = 0  # of the streams
    streamed: int = 0
    cut: list[str] = field(default_factory=list)


class Faults(Protocol):
    """A SageMaker whose endpoints can be slowed down."""

    def set_fault(self, endpoint: str, kind: str, times: int | None = 1, **params: Any) -> None:
        """Let calls to an endpoint fail."""

    def clear_faults(self) -> None:
        """Let every endpoint be well again."""


class Called(Protocol):
    """What clients call: a service, or several behind one address."""

    @property
    def url(self) -> str: ...

    @property
    def key(self) -> str: ...

    @property
    def sagemaker(self) -> Faults: ...

    def client_context(self) -> ssl.SSLContext: ...


class Load:
    """So many keep-alive callers, each on its own connection, and streams of 20 seconds.

    A context manager: leaving it lets streams that have begun come to their end.
    """

    def __init__(self, service: Called, *, callers: int = 16, streams: int = 50) -> None:
        self.counts = Counts()
        self._sagemaker = service.sagemaker
        self._url = service.url
        self._context = service.client_context()
        self._headers = {"Authorization": f"Bearer {service.key}"}
        self._callers, self._streams = callers, streams
        self._stop = threading.Event()
        self._under_way = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._sagemaker.set_fault(_MODEL, "slow_first_byte", times=None, seconds=_MODEL_SECONDS)
        self._thread.start()
        if not self._under_way.wait(_START_SECONDS):
            self._end()
            raise AssertionError(f"not all streams have begun: {self.counts}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._stop.set()
        self._thread.join(_STOP_SECONDS)
        assert not self._thread.is_alive()
        self._sagemaker.clear_faults()
        gc.collect()  # now, and not in another test: what the server cut off may be left to it

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._callers):
                group.create_task(self._repeat(self._call))
            for _ in range(self._streams):
                group.create_task(self._repeat(self._stream))

    async def _repeat(self, action: Callable[[aiohttp.ClientSession], Awaitable[None]]) -> None:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1, ssl=self._context),
            headers=self._headers,
            timeout=_TIMEOUT,
        ) as session:
            while not self._stop.is_set():
                try:
                    await action(session)
                except aiohttp.ClientConnectorError as exc:
                    self.counts.refused.append(str(exc))
                except (aiohttp.ClientError, TimeoutError, ssl.SSLError) as exc:
                    self.counts.failed.append(repr(exc))

    async def _call(self, session: aiohttp.ClientSession) -> None:
        async with session.post(f"{self._url}/predict", json={"model": _MODEL}) as answer:
            text = await answer.text()
            if answer.status == 200:
                self.counts.answered += 1
            else:
                self.counts.failed.append(text)

    async def _stream(self, session: aiohttp.ClientSession) -> None:
        url = f"{self._url}/v1/chat/completions"
        async with session.post(url, json=slow_chat.REQUEST) as answer:
            if answer.status != 200:
                self.counts.failed.append(await answer.text())
                return
            self.counts.begun += 1
            if self.counts.begun == self._streams:
                self._under_way.set()
            text = ""
            try:
                async for chunk in answer.content.iter_any():
                    text += chunk.decode()
            except aiohttp.ClientError as exc:
                text += f" {exc!r}"
            if text.endswith("data: [DONE]\n\n"):
                self.counts.streamed += 1
            else:
                self.counts.cut.append(text[-200:])
