"""An answer of SageMaker's whose body is still to be read, and what can befall that."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from types import TracebackType
from typing import TypeVar

import aiohttp
from multidict import CIMultiDictProxy

from proxy import eventstream
from proxy.errors import DeadlineExceeded, ProxyError, UpstreamFailed
from proxy.refusals import stream_error

T = TypeVar("T")


class Answer:
    """A successful answer whose body is still to be read. Use it as a context manager."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status: int = response.status
        self.headers: CIMultiDictProxy[str] = response.headers
        self._splitter = eventstream.FrameSplitter()
        self._held: list[bytes] = []

    async def __aenter__(self) -> Answer:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # An answer that was not read to its end takes its connection with it, at once.
        self._response.close()

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The body as it arrives; what has arrived together comes together."""
        content = self._response.content
        while True:
            try:
                data = await content.readany()
            except (aiohttp.ClientError, TimeoutError, OSError) as exc:
                raise transport_error(exc) from exc
            if not data:
                return
            yield data

    async def begin(self) -> None:
        """Wait for the first frames of an event stream. Raises what they report, if they do."""
        async with aclosing(self.chunks()) as chunks:
            async for data in chunks:
                if frames := _checked(self._splitter.feed, data):
                    self._held = frames
                    first = _checked(eventstream.decode, frames[0])
                    if first.exception:
                        raise stream_error(first.exception, first.payload)
                    return

    async def frames(self) -> AsyncIterator[bytes]:
        """An event stream's whole frames, end to end, as they arrive."""
        async for frames in self._whole_frames():
            yield b"".join(frames)

    async def payloads(self) -> AsyncIterator[bytes]:
        """The model's own bytes out of an event stream. Raises what the stream reports."""
        async for frames in self._whole_frames():
            parts: list[bytes] = []
            failure: ProxyError | None = None
            for frame in frames:
                message = _checked(eventstream.decode, frame)
                if name := message.exception:
                    failure = stream_error(name, message.payload)
                    break
                if message.headers.get(":event-type") == "PayloadPart":
                    parts.append(message.payload)
            if parts:
                yield b"".join(parts)
            if failure:
                raise failure

    async def _whole_frames(self) -> AsyncIterator[list[bytes]]:
        if self._held:
            yield self._held
        async for data in self.chunks():
            if frames := _checked(self._splitter.feed, data):
                yield frames
        if self._splitter.pending:
            raise UpstreamFailed("the model's stream ended in the middle of an event")


def transport_error(exc: Exception) -> ProxyError:
    """What the client's failure on the way to SageMaker, or back, means."""
    log_message = f"{type(exc).__name__}: {exc}"
    if isinstance(exc, TimeoutError):
        return DeadlineExceeded("SageMaker did not answer in time", log_message=log_message)
    if isinstance(exc, aiohttp.ClientConnectorError):
        return UpstreamFailed("SageMaker cannot be reached", log_message=log_message)
    return UpstreamFailed("the connection to SageMaker broke", log_message=log_message)


def _checked(read: Callable[[bytes], T], data: bytes) -> T:
    """Call one of ``eventstream``'s readers; damage is the upstream's failure."""
    try:
        return read(data)
    except eventstream.EventStreamError as exc:
        raise UpstreamFailed("the model's stream is damaged", log_message=str(exc)) from exc
