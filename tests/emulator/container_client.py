"""Calls a model container as SageMaker does: POST /invocations over plain HTTP."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO

import aiohttp

from tests.emulator.answers import (
    AwsError,
    container_error,
    container_timed_out,
    container_unreachable,
)
from tests.emulator.eventstream import model_stream_error

_PREFIX = "x-amzn-sagemaker-"
# These tell SageMaker what to do; the container hears nothing of them.
_FOR_SAGEMAKER = {
    _PREFIX + name
    for name in (
        "accept",
        "content-type",
        "inputlocation",
        "s3outputpathextension",
        "filename",
        "requestttlseconds",
        "invocationtimeoutseconds",
    )
}
_KEEP_ALIVE_SECONDS = 2.0
_LONGEST_STREAM_SECONDS = 480.0


class StreamFailed(Exception):
    """The container's answer ended too early; `frame` tells the caller so."""

    def __init__(self, message: str, error_code: str) -> None:
        super().__init__(message)
        self.frame = model_stream_error(message, error_code)


@dataclass(frozen=True)
class Answer:
    """A container's whole answer."""

    status: int
    content_type: str
    body: bytes
    custom_attributes: str | None


def container_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Choose what the container gets to see of a call's headers.

    The streaming and the asynchronous calls name types in headers of their own, so that those of
    HTTP stay free for the call itself.
    """
    kept = {
        name: value
        for name, value in headers.items()
        if name.lower().startswith(_PREFIX) and name.lower() not in _FOR_SAGEMAKER
    }
    for name in ("Content-Type", "Accept"):
        value = headers.get(f"X-Amzn-SageMaker-{name}", headers.get(name))
        if value is not None:
            kept[name] = value
    return kept


class ContainerClient:
    """An HTTP client for containers that reports their failures as SageMaker would."""

    def __init__(self, region: str, timeout: float) -> None:
        self._region = region
        self._timeout = timeout
        self._session: aiohttp.ClientSession

    async def open(self) -> None:
        """Make ready to call; needs a running loop."""
        # Idle connections are dropped before the server does it, which could hit a call.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_SECONDS)
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            skip_auto_headers=("Accept-Encoding", "User-Agent"),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def invoke(
        self,
        endpoint: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        seconds: float | None = None,
    ) -> Answer:
        """Return the container's whole answer, or raise the AwsError it amounts to."""
        limit = aiohttp.ClientTimeout(total=seconds or self._timeout)
        async with self.stream(endpoint, url, headers, body, limit) as response:
            try:
                payload = await response.read()
            except TimeoutError:
                raise container_timed_out(endpoint, self._region) from None
            except aiohttp.ClientError as exc:
                raise container_unreachable(endpoint, self._region) from exc
            return Answer(
                response.status,
                response.headers.get("Content-Type", "application/octet-stream"),
                payload,
                response.headers.get("X-Amzn-SageMaker-Custom-Attributes"),
            )

    @asynccontextmanager
    async def stream(
        self,
        endpoint: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        limit: aiohttp.ClientTimeout | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open a successful answer; leaving early closes the connection to the container.

        By default only silence counts against the container, and a stream may last for minutes.
        """
        try:
            response = await self._session.post(
                f"{url}/invocations",
                # As a file: aiohttp warns of large bytes, which it would write in one go.
                data=BytesIO(body),
                headers=headers,
                allow_redirects=False,
                timeout=limit
                or aiohttp.ClientTimeout(total=_LONGEST_STREAM_SECONDS, sock_read=self._timeout),
            )
        except TimeoutError:
            raise container_timed_out(endpoint, self._region) from None
        except aiohttp.ClientError as exc:
            raise container_unreachable(endpoint, self._region) from exc
        try:
            if response.status >= 300:
                raise await self._failure(endpoint, response)
            yield response
        finally:
            # A connection whose answer was read to its end has gone back to the pool already.
            response.close()

    async def _failure(self, endpoint: str, response: aiohttp.ClientResponse) -> AwsError:
        try:
            text = (await response.read()).decode(errors="replace")
        except (TimeoutError, aiohttp.ClientError):
            return container_unreachable(endpoint, self._region)
        return container_error(endpoint, self._region, response.status, text)


async def next_chunk(response: aiohttp.ClientResponse) -> bytes:
    """Return what has arrived of a streamed answer, empty at its end."""
    try:
        return await response.content.readany()
    except TimeoutError:
        raise StreamFailed(
            "The model did not finish its response in time.", "ModelInvocationTimeExceeded"
        ) from None
    except aiohttp.ClientError as exc:
        raise StreamFailed("The connection to the model was closed.", "StreamBroken") from exc
