"""An answer of SageMaker's whose body is still to be read, and what can befall that."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import TypeVar

from proxy import eventstream
from proxy.connection import Response
from proxy.connection_pool import ConnectFailed
from proxy.errors import DeadlineExceeded, ProxyError, UpstreamFailed
from proxy.refusals import stream_error

T = TypeVar("T")


class Answer:
    """A successful answer whose body is still to be read. Use it as a context manager."""

    def __init__(self, response: Response, began: float) -> None:
        """``began`` is ``time.monotonic()`` as the call was sent."""
        self._response = response
        self._began = began
        self.first_byte_seconds: float | None = None  # from there on; None while there is none
        self.status = response.status
        self.headers = response.headers  # by their names in lower case
        # Called once, with what has gone wrong until then, if anything has.
        self.when_closed: Callable[[BaseException | None], None] | None = None
        self._splitter = eventstream.FrameSplitter()
        self._failure: ProxyError | None = None  # that the stream reports behind what was taken

    async def __aenter__(self) -> Answer:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close(error)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives; what has arrived together comes together."""
        while data := await self._read():
            yield data

    async def frames(self) -> AsyncIterator[bytes]:
        """An event stream's whole frames, end to end, as they arrive."""
        while data := await self._read():
            if frames := _checked(self._splitter.feed, data):
                yield b"".join(frames)
        self._check_end()

    async def payloads(self) -> AsyncIterator[bytes]:
        """The model's own bytes out of an event stream. Raises what the stream reports.

        Those that ``take`` has taken are not among them.
        """
        while (payload := await self.take()) is not None:
            yield payload

    async def take(self) -> bytes | None:
        """The next of the payloads; None at the end. Raises what the stream reports.

        If it raises, whatever it is, the answer is closed.
        """
        try:
            while self._failure is None:
                data = await self._read()
                if not data:
                    self._check_end()
                    return None
                if payload := self._payload(_checked(self._splitter.feed, data)):
                    return payload
            raise self._failure
        except BaseException as exc:
            self.close(exc)
            raise

    def close(self, error: BaseException | None = None) -> None:
        """Let go of the connection; one whose answer was not read to its end ends with it."""
        self._response.close()
        if self.when_closed is not None:
            self.when_closed(error)
            self.when_closed = None

    async def _read(self) -> bytes:
        try:
            data = await self._response.read()
        except OSError as exc:
            raise transport_error(exc) from exc
        if self.first_byte_seconds is None and data:
            self.first_byte_seconds = time.monotonic() - self._began
        return data

    def _payload(self, frames: list[bytes]) -> bytes:
        """What the frames carry, up to the failure that one reports."""
        parts: list[bytes] = []
        for frame in frames:
            message = _checked(eventstream.decode, frame)
            if name := message.exception:
                self._failure = stream_error(name, message.payload)
                break
            if message.headers.get(":event-type") == "PayloadPart":
                parts.append(message.payload)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _check_end(self) -> None:
        if self._splitter.pending:
            raise UpstreamFailed("the model's stream ended in the middle of an event")


def transport_error(exc: Exception) -> ProxyError:
    """What the client's failure on the way to SageMaker, or back, means."""
    log_message = f"{type(exc).__name__}: {exc}"
    if isinstance(exc, TimeoutError):
        return DeadlineExceeded("SageMaker did not answer in time", log_message=log_message)
    if isinstance(exc, ConnectFailed):
        return UpstreamFailed("SageMaker cannot be reached", log_message=log_message)
    return UpstreamFailed("the connection to SageMaker broke", log_message=log_message)


def _checked(read: Callable[[bytes], T], data: bytes) -> T:
    """Call one of ``eventstream``'s readers; damage is the upstream's failure."""
    try:
        return read(data)
    except eventstream.EventStreamError as exc:
        raise UpstreamFailed("the model's stream is damaged", log_message=str(exc)) from exc
