"""SageMaker's runtime: sign, send, try again where that is safe, and hand over the answer.

The HTTP client is used in this file alone.
"""

from __future__ import annotations

import asyncio
import io
import random
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import TypeVar
from urllib.parse import urlsplit

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from proxy import eventstream
from proxy.config import UpstreamConfig
from proxy.credentials import CredentialsProvider
from proxy.errors import (
    CredentialsRefused,
    DeadlineExceeded,
    ProxyError,
    UpstreamFailed,
)
from proxy.refusals import Retry, read_refusal, stream_error, translate
from proxy.signing import Credentials, Signer

T = TypeVar("T")

_MAX_ERROR_BYTES = 1024 * 1024
_LARGE_BODY_BYTES = 256 * 1024
_KEEP_ALIVE_SECONDS = 30.0

# aiohttp would add these of its own; only what the caller gives is signed and sent.
_SKIPPED_HEADERS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call: the endpoint's name, the headers SageMaker reads, and the body as it is."""

    endpoint: str
    body: bytes = field(repr=False)
    headers: dict[str, str] = field(default_factory=dict)
    waits: bool = True  # for a model that is not awake


class Answer:
    """A successful answer whose body is still to be read. Use it as a context manager."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status: int = response.status
        self.headers: CIMultiDictProxy[str] = response.headers

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

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives; what has arrived together comes together."""
        content = self._response.content
        while True:
            try:
                data = await content.readany()
            except (aiohttp.ClientError, TimeoutError, OSError) as exc:
                raise _translate_transport(exc) from exc
            if not data:
                return
            yield data

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
        splitter = eventstream.FrameSplitter()
        async for data in self.chunks():
            if frames := _checked(splitter.feed, data):
                yield frames
        if splitter.pending:
            raise UpstreamFailed("the model's stream ended in the middle of an event")


class SageMaker:
    """Calls endpoints with the proxy's own credentials. To be made inside a running loop."""

    def __init__(
        self,
        runtime_url: str,
        ssl_context: ssl.SSLContext,
        signer: Signer,
        credentials: CredentialsProvider,
        config: UpstreamConfig,
    ) -> None:
        parts = urlsplit(runtime_url)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._path = parts.path
        default_port = {"http": 80, "https": 443}[parts.scheme]
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        self._host = host if parts.port in (None, default_port) else f"{host}:{parts.port}"
        self._signer = signer
        self._credentials = credentials
        self._config = config
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=config.max_connections,
                keepalive_timeout=_KEEP_ALIVE_SECONDS,
                ssl=ssl_context,
            ),
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=config.connect_timeout_seconds,
                sock_read=config.read_timeout_seconds,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_SKIPPED_HEADERS,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def invoke(self, invocation: Invocation) -> Answer:
        """InvokeEndpoint. Raises ``ProxyError``, as the two below."""
        return await self._call("invocations", invocation)

    async def invoke_stream(self, invocation: Invocation) -> Answer:
        """InvokeEndpointWithResponseStream: the answer is an event stream."""
        return await self._call("invocations-response-stream", invocation)

    async def invoke_async(self, invocation: Invocation) -> Answer:
        """InvokeEndpointAsync: the answer says where the output will be."""
        return await self._call("async-invocations", invocation)

    async def _call(self, operation: str, invocation: Invocation) -> Answer:
        """Send until SageMaker takes the call, or trying again would be wrong or too late."""
        loop = asyncio.get_running_loop()
        give_up_waking = loop.time() + self._config.wake_timeout_seconds
        retries, naps, renewed = 0, 0, False
        while True:
            credentials = self._credentials_to_use()
            try:
                response = await self._send(operation, invocation, credentials)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as exc:
                # Without a connection, nothing can have reached the model.
                error, retry = _translate_transport(exc), Retry.SOON
                if isinstance(exc, aiohttp.ClientSSLError):
                    retry = Retry.NEVER
            except (aiohttp.ClientError, TimeoutError, OSError) as exc:
                raise _translate_transport(exc) from exc
            else:
                if response.status < HTTPStatus.MULTIPLE_CHOICES:
                    return Answer(response)
                error, retry = await _read_error(response, invocation.endpoint)

            if retry is Retry.SOON and retries < self._config.retries:
                retries += 1
                await asyncio.sleep(random.uniform(0.05, min(0.2 * 2**retries, 5)))
            elif retry is Retry.UNTIL_AWAKE and invocation.waits:
                naps += 1
                delay = min(0.25 * 2**naps, 5) * random.uniform(0.5, 1)
                if loop.time() + delay > give_up_waking:
                    raise error
                await asyncio.sleep(delay)
            elif retry is Retry.WITH_NEW_CREDENTIALS and not renewed:
                renewed = True
                if not await self._credentials.replace(credentials):
                    raise error
            else:
                raise error

    def _credentials_to_use(self) -> Credentials:
        if credentials := self._credentials.current:
            return credentials
        raise CredentialsRefused(
            "the proxy has no valid AWS credentials; its operator finds the reason in the log",
            log_message=f"no credentials to sign with: {self._credentials.problem}",
        )

    async def _send(
        self, operation: str, invocation: Invocation, credentials: Credentials
    ) -> aiohttp.ClientResponse:
        path = f"{self._path}/endpoints/{invocation.endpoint}/{operation}"
        body = invocation.body
        sign = partial(
            self._signer.sign,
            credentials,
            host=self._host,
            path=path,
            headers=invocation.headers,
            body=body,
        )
        # A large body takes long to hash, so a thread does; and it is written piece by piece.
        large = len(body) > _LARGE_BODY_BYTES
        headers = await asyncio.to_thread(sign) if large else sign()
        return await self._session.post(
            URL(self._origin + path, encoded=True),
            data=io.BytesIO(body) if large else body,
            headers=headers,
            allow_redirects=False,
        )


async def _read_error(response: aiohttp.ClientResponse, endpoint: str) -> tuple[ProxyError, Retry]:
    body = bytearray()
    try:
        async for data in response.content.iter_any():
            body += data
            if len(body) > _MAX_ERROR_BYTES:
                break
    except (aiohttp.ClientError, TimeoutError, OSError) as exc:
        raise _translate_transport(exc) from exc
    finally:
        response.close()
    return translate(read_refusal(response.status, response.headers, bytes(body)), endpoint)


def _checked(read: Callable[[bytes], T], data: bytes) -> T:
    """Call one of ``eventstream``'s readers; damage is the upstream's failure."""
    try:
        return read(data)
    except eventstream.EventStreamError as exc:
        raise UpstreamFailed("the model's stream is damaged", log_message=str(exc)) from exc


def _translate_transport(exc: Exception) -> ProxyError:
    """What a failure on the way to SageMaker, or back, means to the client."""
    log_message = f"{type(exc).__name__}: {exc}"
    if isinstance(exc, TimeoutError):
        return DeadlineExceeded("SageMaker did not answer in time", log_message=log_message)
    if isinstance(exc, aiohttp.ClientConnectorError):
        return UpstreamFailed("SageMaker cannot be reached", log_message=log_message)
    return UpstreamFailed("the connection to SageMaker broke", log_message=log_message)
